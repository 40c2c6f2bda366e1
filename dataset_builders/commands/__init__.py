"""Commands of the benchmark: parse, call one function, print."""
