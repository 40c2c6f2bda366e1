// Recommends in the browser: requests are read by Python (Pyodide), texts tokenized and embedded, all items scored by
// two ONNX graphs. Runs in a worker; page.js speaks to it by messages.

import { Trie, beamSearch, foldedLogProb } from "./trie.js";

const here = new URL("./", import.meta.url);
const MAX_EMBEDDED = 1000; // number of texts whose embeddings are kept

/** Address of a file of the page; its digest keeps a browser from mixing the files of two versions. */
function addressOf(settings, name) {
  const address = new URL(name, here);
  address.searchParams.set("v", settings.files[name].sha256.slice(0, 16));
  return address.href;
}

/** Fetches a file of the page and checks its length. */
async function fetchFile(settings, name, onBytes) {
  const response = await fetch(addressOf(settings, name));
  if (!response.ok) throw new Error(`${name} cannot be fetched (status ${response.status}); make the page again.`);
  const bytes = new Uint8Array(settings.files[name].bytes);
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > bytes.length) throw new Error(`${name} is longer than it should be; make the page again.`);
    bytes.set(value, length);
    length += value.length;
    onBytes(value.length);
  }
  if (length < bytes.length) throw new Error(`${name} ends after ${length} of ${bytes.length} bytes; load the page again.`);
  return bytes;
}

/** Token ids of a text, cut to a number of tokens, special ones included, as the tokenizers of Python cut. */
export function tokenIds(tokenizer, text, maxLength) {
  const ids = tokenizer.encode(text).ids;
  if (ids.length <= maxLength) return ids;
  const bare = tokenizer.encode(text, { add_special_tokens: false }).ids;
  const start = bare.length ? ids.findIndex((_, place) => bare.every((id, n) => ids[place + n] === id)) : 0;
  const tail = ids.slice(start + bare.length);
  return [...ids.slice(0, start), ...bare.slice(0, maxLength - start - tail.length), ...tail];
}

/** Places of the k largest numbers, the largest first; of equal ones, the first. */
export function largest(numbers, k) {
  const places = Array.from(numbers.keys());
  return places.sort((a, b) => numbers[b] - numbers[a] || a - b).slice(0, k);
}

/** The loaded model. */
export class Engine {
  /**
   * Loads all parts at once.
   * @param {(loaded: number, total: number) => void} onProgress Called with bytes.
   */
  static async load(onProgress = () => {}) {
    const started = performance.now();
    const settings = await (await fetch(new URL("page.json", here), { cache: "no-cache" })).json();
    const names = ["items", "semantic_ids", "tokenizer", "tokenizer_config", "reading", "reader", "text_encoder", "item_scores"];
    const paths = Object.fromEntries(names.map((name) => [name, settings.paths[name]]));
    const total = Object.values(settings.files).reduce((sum, file) => sum + file.bytes, 0);
    const known = new Set(Object.values(paths));
    let loaded = 0;
    const count = (bytes) => onProgress((loaded += bytes), total);
    const rest = Object.entries(settings.files).filter(([name]) => !known.has(name));
    const countRest = (folder) =>
      count(rest.filter(([name]) => name.startsWith(folder)).reduce((sum, [, file]) => sum + file.bytes, 0));
    const timings = {};
    const timed = async (name, promise) => {
      const value = await promise;
      timings[name] = performance.now() - started;
      return value;
    };
    const files = Object.fromEntries(
      Object.entries(paths).map(([name, path]) => [name, fetchFile(settings, path, count)]),
    );
    const text = async (name) => new TextDecoder().decode(await files[name]);

    const loadGraphs = async () => {
      const ort = await import(new URL("vendor/onnxruntime-web/ort.wasm.min.mjs", here).href);
      ort.env.wasm.wasmPaths = new URL("vendor/onnxruntime-web/", here).href;
      ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
      ort.env.logLevel = "error";
      const open = async (name) => {
        const bytes = await files[name];
        return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
      };
      const graphs = { ort, textEncoder: await open("text_encoder"), itemScores: await open("item_scores") };
      countRest("vendor/onnxruntime-web/");
      return graphs;
    };
    const loadTokenizer = async () => {
      const { Tokenizer } = await import(new URL("vendor/tokenizers/tokenizers.min.mjs", here).href);
      const parsed = JSON.parse(await text("tokenizer"));
      const tokenizer = new Tokenizer(parsed, JSON.parse(await text("tokenizer_config")));
      countRest("vendor/tokenizers/");
      return tokenizer;
    };
    const loadReader = async (tokenizer) => {
      const { loadPyodide } = await import(new URL("vendor/pyodide/pyodide.mjs", here).href);
      const python = await loadPyodide({ indexURL: new URL("vendor/pyodide/", here).href });
      countRest("vendor/pyodide/");
      python.FS.writeFile("/reading.zip", await files.reading);
      python.FS.writeFile("/reader.py", await files.reader);
      python.runPython("import sys; sys.path[:0] = ['/', '/reading.zip']");
      const vocabulary = JSON.stringify([...(await tokenizer).get_vocab().keys()]);
      const { max_history_length: longest, num_trained_items: trained } = settings;
      return python.pyimport("reader").PageReader(await text("items"), vocabulary, longest, trained);
    };
    const tokenizer = timed("tokenizer", loadTokenizer());
    const parts = [timed("graphs", loadGraphs()), tokenizer, timed("python", loadReader(tokenizer))];
    const [graphs, , reader] = await Promise.all(parts);
    const items = (await text("items")).split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const semanticIds = JSON.parse(await text("semantic_ids"));
    timings.all = performance.now() - started;
    return new Engine(settings, items, semanticIds, graphs, await tokenizer, reader, timings);
  }

  constructor(settings, items, semanticIds, graphs, tokenizer, reader, timings) {
    Object.assign(this, { settings, items, semanticIds, graphs, tokenizer, reader, timings });
    this.titles = items.map((item, place) => item.title || `item ${place + 1}`);
    this.trie = new Trie(semanticIds);
    this.embedded = new Map();
  }

  /**
   * Answers a request.
   * @param {object} request Fields as in Python: history, preference, avoid, strength, candidates, exclude, ...
   * @param {object} options `k`, defaults to 10.
   * @returns {Promise<object>} `items`, best first, each with `item_id`, `title`, `score`, `terms`, its `codes` and the
   *   probability of each code after those before it (`shares`); `texts` as they were read; `milliseconds` of each step.
   */
  async recommend(request, options = {}) {
    const started = performance.now();
    const read = this.read(request, options);
    const afterReading = performance.now();
    const embeddings = await this.embed(read.texts.map((text) => text.text));
    const afterEncoding = performance.now();
    const { scores, terms } = await this.score(read, embeddings);
    const items = this.explain(largest(scores, read.k), scores, terms, read.texts);
    const ended = performance.now();
    return {
      items,
      texts: read.texts,
      milliseconds: {
        reading: afterReading - started,
        encoding: afterEncoding - afterReading,
        scoring: ended - afterEncoding,
        all: ended - started,
      },
    };
  }

  /**
   * Answers a request code by code, by a beam search over semantic IDs, as `generate` does in Python.
   * @param {object} options `k`, defaults to 10, and `num_beams`, defaults to 20 or all items.
   * @returns {Promise<object>} `items`, best first, each with `item_id`, `title`, `score` and `codes`.
   */
  async generate(request, options = {}) {
    const read = this.read(request, options);
    if (read.weights) throw new Error("generate takes neither candidates, exclude nor item_log_weights; recommend does.");
    const { scores } = await this.score(read, await this.embed(read.texts.map((text) => text.text)));
    const numBeams = read.num_beams ?? Math.min(Math.max(20, read.k), this.items.length);
    const found = beamSearch(this.trie, numBeams, foldedLogProb(this.trie.fold(scores))).slice(0, read.k);
    return { items: found.map((item) => ({ ...item, title: this.titles[item.item_id - 1] })), texts: read.texts };
  }

  /** What the graphs take of a request, and how many items it asks for. */
  read(request, options) {
    const read = JSON.parse(this.reader.read(JSON.stringify({ request, options })));
    if (read.error) throw new Error(read.error);
    return read;
  }

  /** Embeddings of texts, one after another in one array; those of texts seen before are kept. */
  async embed(texts) {
    const size = this.settings.embedding_size;
    const missing = [...new Set(texts.filter((text) => !this.embedded.has(text)))];
    if (this.embedded.size + missing.length > MAX_EMBEDDED) {
      this.embedded.clear();
      missing.splice(0, missing.length, ...new Set(texts));
    }
    // in 8 bits the scale of a batch is that of all its texts: alone, a text has the same embedding every time
    const groups = this.settings.dtype === "int8" ? missing.map((text) => [text]) : [missing];
    for (const group of groups) if (group.length) await this.embedGroup(group);
    const all = new Float32Array(Math.max(1, texts.length) * size); // a request without texts has one of strength 0
    texts.forEach((text, row) => all.set(this.embedded.get(text), row * size));
    return all;
  }

  /** Embeds texts in one run, padded to the longest. */
  async embedGroup(texts) {
    const rows = texts.map((text) => tokenIds(this.tokenizer, text, this.settings.max_length));
    const length = Math.max(1, ...rows.map((row) => row.length));
    const ids = new BigInt64Array(rows.length * length).fill(BigInt(this.settings.pad_token_id));
    const mask = new BigInt64Array(rows.length * length);
    rows.forEach((row, number) =>
      row.forEach((id, place) => {
        ids[number * length + place] = BigInt(id);
        mask[number * length + place] = 1n;
      }),
    );
    const { Tensor } = this.graphs.ort;
    const shape = [rows.length, length];
    const output = await this.graphs.textEncoder.run({
      input_ids: new Tensor("int64", ids, shape),
      attention_mask: new Tensor("int64", mask, shape),
    });
    const [vectors, size] = [output.embeddings.data, this.settings.embedding_size];
    texts.forEach((text, row) => this.embedded.set(text, vectors.slice(row * size, (row + 1) * size)));
  }

  /** Scores of all items, and their terms: history, graph and one per text, one after another. */
  async score(read, embeddings) {
    const { Tensor } = this.graphs.ort;
    const columns = Math.max(1, read.texts.length);
    const width = Math.max(1, ...read.texts.map((text) => text.words.length));
    const words = new BigInt64Array(columns * width);
    read.texts.forEach((text, row) => text.words.forEach((word, place) => (words[row * width + place] = BigInt(word))));
    const numbers = (name) => Float32Array.from({ length: columns }, (_, row) => read.texts[row]?.[name] ?? 0);
    const history = read.history.length ? read.history : [0]; // 0 is padding
    const output = await this.graphs.itemScores.run({
      history: new Tensor("int64", BigInt64Array.from(history, BigInt), [1, history.length]),
      embeddings: new Tensor("float32", embeddings, [1, columns, this.settings.embedding_size]),
      strengths: new Tensor("float32", numbers("strength"), [1, columns]),
      known: new Tensor("float32", numbers("known"), [1, columns]),
      words: new Tensor("int64", words, [1, columns, width]),
    });
    const scores = Float32Array.from(output.scores.data);
    read.weights?.forEach((weight, place) => (scores[place] += weight ?? -Infinity));
    return { scores, terms: output.terms.data };
  }

  /** Items with what their scores are made of. */
  explain(places, scores, terms, texts) {
    const numItems = this.items.length;
    const names = termNames(texts);
    const means = names.map((_, row) => mean(terms.subarray(row * numItems, (row + 1) * numItems)));
    const logProb = foldedLogProb(this.trie.fold(scores));
    return places.map((place) => ({
      item_id: place + 1,
      title: this.titles[place],
      score: scores[place],
      terms: Object.fromEntries(names.map((name, row) => [name, terms[row * numItems + place]])),
      lifts: names.map((_, row) => terms[row * numItems + place] - means[row]),
      codes: this.semanticIds[place],
      shares: this.trie.pathOf(place + 1).map((node, level, path) => Math.exp(logProb(level, node, path[level - 1] ?? 0))),
    }));
  }
}

/** Names of the terms of a score, as in Python: history, graph, preference 1, ..., avoid 1, ... */
function termNames(texts) {
  const numbers = { preference: 0, avoid: 0 };
  const kinds = texts.map((text) => (text.strength < 0 ? "avoid" : "preference"));
  return ["history", "graph", ...kinds.map((kind) => `${kind} ${(numbers[kind] += 1)}`)];
}

function mean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

// Messages: {id, method, request, options} in, {id, answer} or {id, error} out; {progress}, then {ready} or {failed} first.
if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) {
  let last = 0;
  const loading = Engine.load((loaded, total) => {
    if (loaded - last < total / 200 && loaded < total) return;
    last = loaded;
    self.postMessage({ progress: { loaded, total } });
  });
  loading.then(
    (engine) => self.postMessage({ ready: { titles: engine.titles, timings: engine.timings } }),
    (error) => self.postMessage({ failed: String(error.message || error) }),
  );
  let queue = Promise.resolve(); // one request after another
  self.addEventListener("message", ({ data: { id, method, request, options } }) => {
    queue = queue.then(async () => {
      try {
        self.postMessage({ id, answer: await (await loading)[method](request, options) });
      } catch (error) {
        self.postMessage({ id, error: String(error.message || error) });
      }
    });
  });
}
