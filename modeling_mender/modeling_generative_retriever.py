"""Base of the models that generate semantic IDs: `generate` and `recommend`, restricted to the catalog."""

import copy
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import GenerationConfig, GenerationMixin
from transformers.generation import GenerateBeamEncoderDecoderOutput
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from .captured_decoding import CapturedSearch
from .configuration_semantic_ids import PAD_TOKEN_ID
from .constrained_decoding import BeamSearchOutput, NextLogProbs, TrieLogitsProcessor, beam_search
from .item_log_weights import ItemIds, ItemLogWeights, weigh_items
from .modeling_semantic_id_decoder import SemanticIdDecoderModel
from .recommendation import (
    RecommendOutput,
    check_enough,
    check_not_empty,
    check_size,
    count_allowed,
    default_beams,
    evaluation_mode,
    refuse_unread_inputs,
)
from .semantic_ids import codes_to_tokens
from .t5_stacks import DecodingSteps, last_visible, project_states
from .trie import NodeLogWeights

# Fields of a generation configuration that plain beam search supports; any other uses the generic loop.
PLAIN_BEAM_SEARCH_SETTINGS = {
    "num_beams", "num_return_sequences", "return_dict_in_generate", "output_scores", "use_cache", "early_stopping",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "length_penalty", "do_sample", "pad_token_id",
    "bos_token_id", "eos_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config",
}  # fmt: skip


class GenerativeRetriever(SemanticIdDecoderModel, GenerationMixin):
    """A model that recommends by generating semantic IDs of its catalog.

    Subclasses create their modules, call `post_init()`, name their inputs in `encoder_input_names` and implement
    `encode(**inputs) -> BaseModelOutput` with `last_hidden_state (batch_size, sequence_length, d_model)`.
    """

    _captured: CapturedSearch | None = None

    def capture_search(self, enabled: bool = True) -> None:
        """Makes `recommend` and plain beam search run all levels as one CUDA graph, captured once per shape.

        Requests are padded to the next power of two of rows and to a multiple of 64 states; see [`CapturedSearch`].
        On the CPU the same code runs without a graph.

        Args:
            enabled (`bool`, defaults to `True`): `False` frees the graphs and searches step by step again.
        """
        self._captured = CapturedSearch() if enabled else None

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: list | None = None,
        stopping_criteria: list | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **kwargs: Any,
    ) -> torch.Tensor | ModelOutput:
        """Generates semantic IDs of the catalog, constrained under every decoding strategy.

        Plain beam search uses the built-in trie search of `num_levels` steps; greedy search, sampling and all other
        settings use the generic loop of `transformers` with a [`TrieLogitsProcessor`]. Both give the same beams.

        Args:
            inputs (`torch.Tensor`, *optional*): Not supported; pass the processor's output by name.
            generation_config, logits_processor, stopping_criteria: As in `transformers`.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; column `i - 1` is item
                `i`.
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): As in `recommend`. Sampling
                draws from the probabilities of tokens times the mean weight of the items below them.
            kwargs: The processor's output, and settings of the generation configuration.

        Returns:
            `torch.Tensor` of shape `(batch_size * num_return_sequences, 1 + num_levels)`, the start token first; with
            `return_dict_in_generate` a `GenerateBeamEncoderDecoderOutput` whose `sequences_scores` are
            log-probabilities, plus the items' log-weights if given.

        Raises:
            ValueError: If there are more beams or results than items, the settings have another length, or
                `item_log_weights` or `allowed_items` have a wrong shape, type or value.
        """
        if inputs is not None:
            raise ValueError(
                f"pass the processor's output by name ({', '.join(self.encoder_input_names)}, attention_mask), "
                "not as inputs."
            )
        settings = copy.deepcopy(generation_config if generation_config is not None else self.generation_config)
        model_inputs = settings.update(**kwargs)
        if model_inputs.get("assistant_model") is not None:
            raise ValueError("assisted decoding drafts tokens of no item; leave assistant_model out.")
        if generation_config is None and "num_beams" not in kwargs:  # items may have been removed since the training
            settings.num_beams = min(settings.num_beams or 1, self.num_active_items)
        self._check_generation(settings)
        encoder_outputs, attention_mask = self._encode_request(model_inputs)
        num_distinct = 1 if settings.do_sample else settings.num_return_sequences or 1  # samples may repeat an item
        weights = weigh_items(
            self.config.num_items, len(attention_mask), allowed_items=allowed_items, item_log_weights=item_log_weights
        )
        check_enough(self._count_allowed(weights), num_distinct)
        node_log_weights = self._fold(weights)
        if self._is_plain_beam_search(settings, logits_processor, stopping_criteria, model_inputs):
            found = self._search_beams(encoder_outputs, attention_mask, settings.num_beams or 1, node_log_weights)
            return self._as_generate_output(found, settings)
        processor = self._trie_processor(node_log_weights)
        settings.max_new_tokens, settings.max_length = self.config.num_levels, None
        return super().generate(
            generation_config=settings,
            logits_processor=[processor, *(logits_processor or [])],
            stopping_criteria=stopping_criteria,
            # a copy: the generic loop expands the states in place
            encoder_outputs=type(encoder_outputs)(**encoder_outputs),
            attention_mask=attention_mask,
            **model_inputs,
        )

    @torch.no_grad()
    def recommend(
        self,
        k: int = 10,
        num_beams: int | None = None,
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` most probable items by beam search.

        Args:
            k (`int`, defaults to 10): Items per request, in `1..num_items`.
            num_beams (`int`, *optional*): Number of beams; more beams find more of the exact top `k`. Defaults to that
                of the generation configuration, but at least `2 * k` (at most `num_items`); with at most `EXACT_ITEMS`
                (200) allowed items, to their number, which is exact.
            candidates (*optional*): Ids of the only items to rank, for all requests or one list per request.
            exclude (*optional*): Ids of items to leave out, such as those bought already, in the same form.
            allowed_items (`torch.Tensor`, *optional*): Shape `(batch_size, num_items)`, bool; the candidates as a
                mask. Scores are those over the whole catalog.
            item_log_weights (`torch.Tensor` or [`SparseItemLogWeights`], *optional*): Shape `(batch_size, num_items)`,
                float; column `i - 1` is added to the log-probability of item `i` during the search. 0 changes nothing,
                `-inf` excludes an item.
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)` without repeats, and `scores (batch_size, k)`,
                log-probabilities plus log-weights.

        Raises:
            ValueError: If `k` or `num_beams` is out of range, an id is unknown, a log-weight is NaN or `+inf`, or
                fewer than `k` items are allowed.
        """
        num_items = self.config.num_items
        check_size(k, num_beams, self.num_active_items)
        encoder_outputs, attention_mask = self._encode_request(inputs)
        refuse_unread_inputs(inputs, self.encoder_input_names)
        weights = weigh_items(num_items, len(attention_mask), candidates, exclude, allowed_items, item_log_weights)
        num_allowed = self._count_allowed(weights)
        check_enough(num_allowed, k, candidates, self.is_item)
        node_log_weights = self._fold(weights)
        num_beams = num_beams or self._default_beams(k, num_allowed)
        found = self._search_beams(encoder_outputs, attention_mask, num_beams, node_log_weights)
        return RecommendOutput(items=found.items[:, :k], scores=found.scores[:, :k])

    def _default_beams(self, k: int, num_allowed: torch.Tensor | None) -> int:
        """Number of beams for `k` results; see `recommend`."""
        return default_beams(k, self.generation_config.num_beams or 1, self.num_active_items, num_allowed)

    def _count_allowed(self, weights: ItemLogWeights | None) -> torch.Tensor | None:
        """Number of items that each request allows, `(batch_size,)`; removed items do not count."""
        return count_allowed(weights, self.config.num_items, self.is_item)

    def _encode_request(self, inputs: dict[str, Any]) -> tuple[BaseModelOutput, torch.Tensor]:
        """Pops the encoder's inputs from `inputs` and encodes them, unless encoder states are given."""
        encoder_outputs = inputs.pop("encoder_outputs", None)
        attention_mask = inputs.pop("attention_mask", None)
        encoder_inputs = {name: inputs.pop(name) for name in self.encoder_input_names if name in inputs}
        if encoder_outputs is None:
            if not encoder_inputs:
                raise ValueError(
                    f"nothing to encode: give the processor's output ({', '.join(self.encoder_input_names)}, "
                    "attention_mask)."
                )
            encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
        states = encoder_outputs.last_hidden_state
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        check_not_empty(attention_mask)
        return encoder_outputs, attention_mask

    def _fold(self, weights: ItemLogWeights | None) -> NodeLogWeights | None:
        """Folds log-weights of items up the trie."""
        return None if weights is None else self.trie.mean_fold(weights.to(self.trie.device))

    def _trie_processor(self, node_log_weights: NodeLogWeights | None) -> TrieLogitsProcessor:
        """Logits processor that restricts the generic loop to the catalog."""
        return TrieLogitsProcessor(
            self.trie, self.config.codebook_size, node_log_weights, renormalize=self.config.constrained_softmax
        )

    def _check_generation(self, settings: GenerationConfig) -> None:
        """Checks the settings against the catalog and the length of a semantic ID."""
        num_levels, num_items = self.config.num_levels, self.num_active_items
        for name in ("num_beams", "num_return_sequences"):
            if (value := getattr(settings, name) or 1) > num_items and not settings.do_sample:
                raise ValueError(
                    f"{name} ({value}) exceeds the catalog ({num_items} items); pass at most {num_items}."
                )
        for name in ("output_attentions", "output_hidden_states"):
            if getattr(settings, name):
                raise ValueError(f"{name} is not supported by this model; leave it unset.")
        if settings.max_length not in (None, 1 + num_levels):
            raise ValueError(
                f"max_length ({settings.max_length}) must be {1 + num_levels}, the start token and a semantic ID; "
                "leave it unset."
            )
        if settings.max_new_tokens not in (None, num_levels):
            raise ValueError(
                f"max_new_tokens ({settings.max_new_tokens}) must be {num_levels}, the length of a semantic ID; "
                "leave it unset."
            )

    @staticmethod
    def _is_plain_beam_search(
        settings: GenerationConfig, logits_processor: Any, stopping_criteria: Any, model_inputs: dict[str, Any]
    ) -> bool:
        """Whether the built-in trie search supports all settings."""
        changed = {name for name, value in settings.to_diff_dict().items() if value is not None}
        return (
            not (logits_processor or stopping_criteria or model_inputs)
            and changed <= PLAIN_BEAM_SEARCH_SETTINGS
            and (settings.num_beams or 1) > 1
            and not settings.do_sample
            and not settings.output_scores
            and settings.length_penalty == 0.0
        )

    def _search_beams(
        self,
        encoder_outputs: BaseModelOutput,
        attention_mask: torch.Tensor,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
    ) -> BeamSearchOutput:
        """Runs [`beam_search`] with this model's decoder."""

        def search(
            states: torch.Tensor, mask: torch.Tensor, node_log_weights: NodeLogWeights | None
        ) -> BeamSearchOutput:
            steps = DecodingSteps(
                self.decoder,
                project_states(self.decoder, states),
                mask,
                self.config.num_levels,
                self.config.codebook_size,
                last_visible(states, mask) if self.starts_from_last_state else None,
            )
            renormalize = self.config.constrained_softmax
            return self._run_search(steps, len(mask), num_beams, node_log_weights, renormalize)

        states = cast(torch.Tensor, encoder_outputs.last_hidden_state)
        if self._captured is None:
            return search(states, attention_mask, node_log_weights)
        settings = (num_beams, self.config.constrained_softmax)
        reads = [self.trie.leaf_items, *self.decoder.parameters(), *self.decoder.buffers()]
        return self._captured(search, states, attention_mask, node_log_weights, settings, reads)

    def _run_search(
        self,
        steps: NextLogProbs,
        batch_size: int,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
        renormalize: bool = False,
    ) -> BeamSearchOutput:
        """Runs [`beam_search`] with the decoder in evaluation mode."""
        with evaluation_mode(self.decoder):
            return beam_search(steps, self.trie, batch_size, num_beams, node_log_weights, renormalize)

    def _as_generate_output(self, found: BeamSearchOutput, settings: GenerationConfig) -> torch.Tensor | ModelOutput:
        """Beams in the form that `generate` returns."""
        num_results = settings.num_return_sequences or 1
        tokens = codes_to_tokens(found.codes[:, :num_results], self.config.codebook_size).flatten(0, 1)
        sequences = cast(torch.LongTensor, functional.pad(tokens, (1, 0), value=PAD_TOKEN_ID))
        if not settings.return_dict_in_generate:
            return sequences
        scores = found.scores[:, :num_results].flatten()
        return GenerateBeamEncoderDecoderOutput(sequences=sequences, sequences_scores=scores)
