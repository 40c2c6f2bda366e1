"""Settings of a chat endpoint, checked before any request is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMA_MODES = ("json_schema", "json_value", "json_object", "none")
"""How replies are constrained, from the strictest: by the schema in OpenAI's form (vLLM, llama.cpp, providers), by the
schema in the form of text-generation-inference, to any JSON object, not at all. A server that refuses one is asked for
the next."""
PARAMETERS = ("temperature", "top_p", "max_tokens", "seed")
"""Parameters of the sampling, which can be left out."""
MAX_TOKENS_NAMES = ("max_tokens", "max_completion_tokens")
"""Names that servers have for the limit of new tokens."""
SECRET_CHARACTERS = 8
"""Of a value in a URL's query, which may be a key; a shorter one is not."""
HUB_HOSTS = ("huggingface.co", "hf.space", "huggingface.cloud")
"""Hosts, with their sub-domains, that a token of the Hub is meant for."""


@dataclass(frozen=True)
class EndpointSettings:
    """Where the model is and how it is asked.

    Attributes:
        base_url (`str`): Of an OpenAI-compatible server, as in `http://127.0.0.1:8000/v1`; taken as it is given.
        model (`str`): Its name on that server.
        api_key (`str`, *optional*): Never shown, logged or written.
        temperature, top_p, max_tokens: Of the sampling; the paper's values by default (appendix C).
        timeout (`float`): Seconds that one attempt may take from first to last byte.
        max_retries (`int`): Further attempts of a request after the first one failed.
        max_failures (`int`): So many requests in a row without any reply, each after its retries, mean that the
            endpoint is down.
        backoff (`float`): Seconds before the first retry; doubled for each further one, up to `MAX_WAIT`.
        schema_mode (`str`): The strictest of [`SCHEMA_MODES`] to ask for.
        omit (`tuple[str, ...]`): Those of [`PARAMETERS`] that are not sent.
        max_tokens_name (`str`): One of [`MAX_TOKENS_NAMES`]; the first falls to the second when the server says so.
        max_reply_bytes (`int`): A longer answer is not read to its end.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 512
    timeout: float = 120.0
    max_retries: int = 5
    max_failures: int = 10
    backoff: float = 1.0
    schema_mode: str = SCHEMA_MODES[0]
    omit: tuple[str, ...] = ()
    max_tokens_name: str = MAX_TOKENS_NAMES[0]
    max_reply_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        check_url(self.base_url)
        if not self.model:
            raise ValueError("model must name the model, as the server lists it under /models.")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key holds a line break or a character that no key has; set the key alone.")
        names = {"schema_mode": SCHEMA_MODES, "max_tokens_name": MAX_TOKENS_NAMES}
        for name, known in names.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} ({getattr(self, name)!r}) must be one of {', '.join(known)}.")
        if unknown := set(self.omit) - set(PARAMETERS):
            raise ValueError(f"omit ({', '.join(sorted(unknown))}) must be of {', '.join(PARAMETERS)}.")
        least = {"timeout": 0.001, "max_tokens": 1, "max_retries": 0, "max_failures": 1, "max_reply_bytes": 1}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {value}.")
        if not 0 <= self.temperature < float("inf") or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature ({self.temperature}) must be >= 0 and top_p ({self.top_p}) in (0, 1].")

    @property
    def shown_url(self) -> str:
        """The URL without user name, password and query."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def model_name(self) -> str:
        """The name of the model as files and cards give it: of a path only the last part."""
        is_path = self.model.startswith(("/", ".", "~"))
        return Path(self.model).name if is_path else self.model

    def masked(self, text: str) -> str:
        """A server's words without the secrets that it may repeat: the key, the password, the values of the query."""
        parts = urlsplit(self.base_url)
        secrets = [self.api_key, parts.password, unquote(parts.password or "")]
        for query in (parts.query, unquote(parts.query)):
            secrets += [value for _, value in parse_qsl(query) if len(value) >= SECRET_CHARACTERS]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def key_variable(base_url: str, environment: Mapping[str, str], name: str | None = None) -> str | None:
    """Which environment variable holds the key for an endpoint.

    Args:
        base_url (`str`): The endpoint.
        environment (`Mapping`): As `os.environ`.
        name (`str`, *optional*): What the user asked for; by default OPENAI_API_KEY, or, for hosts of the Hub alone,
            HF_TOKEN: a token of the Hub must not reach anyone else.

    Returns:
        `str` or `None`: A variable that is set, or `None` to ask without a key.

    Raises:
        ValueError: If `name` is given and not set, or the endpoint is no URL.

    >>> key_variable("http://127.0.0.1:8000/v1", {"HF_TOKEN": "x"}) is None
    True
    >>> key_variable("https://router.huggingface.co/v1", {"HF_TOKEN": "x", "OPENAI_API_KEY": "y"})
    'HF_TOKEN'
    """
    check_url(base_url)
    if name:
        if not environment.get(name):
            raise ValueError(f"The environment variable {name} is not set; export the endpoint's key in it.")
        return name
    host = urlsplit(base_url).hostname or ""
    of_hub = any(host == hub or host.endswith(f".{hub}") for hub in HUB_HOSTS)
    candidate = "HF_TOKEN" if of_hub else "OPENAI_API_KEY"
    return candidate if environment.get(candidate) else None


def check_url(base_url: str) -> None:
    """Refuses what is no URL of a server.

    Raises:
        ValueError: With the URL without its password and query, what is wrong with it, and an example.

    >>> check_url("http://127.0.0.1:99999/v1")
    Traceback (most recent call last):
    ValueError: base_url ('http://127.0.0.1:99999/v1') must have a port of 1 to 65535, as in http://127.0.0.1:8000/v1.
    """
    if must := _fault_of_url(base_url):
        shown = base_url.partition("?")[0]
        if "@" in shown:
            shown = f"{shown[: shown.index('//') + 2] if '//' in shown else ''}...@{shown.rpartition('@')[2]}"
        raise ValueError(f"base_url ({shown!r}) must {must}, as in http://127.0.0.1:8000/v1.")


def _fault_of_url(base_url: str) -> str | None:
    """What a URL must be and is not; `None` for the URL of a server."""
    if any(character.isspace() or not character.isprintable() or character in '\\<>"' for character in base_url):
        return "hold no blank, quote, backslash or angle bracket"
    try:
        parts = urlsplit(base_url)
    except ValueError:  # brackets that are not closed, or hold no IPv6 address
        return "hold an IPv6 address between closed brackets, or none"
    if parts.scheme not in ("http", "https") or not base_url.lower().startswith(f"{parts.scheme}://"):
        return "begin with http:// or https://"
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        return "have a port of 1 to 65535"
    host = parts.hostname or ""
    if not host or not all(host.removesuffix(".").split(".")):
        return "name a host"
    return None
