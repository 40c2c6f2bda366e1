"""Mender_Steer: recommends by one score per item, folded up the trie of semantic IDs if a decoder refines it."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from .configuration_semantic_ids import PAD_TOKEN_ID, first_token
from .constrained_decoding import BeamSearchOutput, TrieLogitsProcessor
from .folded_decoding import FoldedSteps, SteerEncoderOutput, SteerLogitsProcessor, code_loss
from .item_log_weights import ItemIds, ItemLogWeights, weigh_items
from .modeling_semantic_id_decoder import refuse_unknown
from .modeling_steer_scores import SteerScores
from .recommendation import RecommendOutput, check_enough, check_size, evaluation_mode
from .request_weights import wanted_shares
from .semantic_ids import tokens_to_codes
from .t5_stacks import last_visible
from .trie import NodeLogWeights


@dataclass
class SteerOutput(ModelOutput):
    """Output of `forward`.

    Attributes:
        loss (`torch.Tensor`, *optional*): With labels; the mean over examples.
        logits (`torch.Tensor`, *optional*): With `decoder_input_ids`; shape `(batch_size, 1, vocab_size)`, the
            contribution of the next code to the score; 0 for the start token, see [`SteerLogitsProcessor`].
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class MenderSteer(SteerScores, GenerationMixin):
    """Recommends what a history suggests and preferences ask for, by one score per item; see [`SteerScores`].

    Args:
        config ([`MenderSteerConfig`]): Sizes; [`from_text_encoder`] makes one.
    """

    def forward(
        self,
        history: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        preference_input_ids: torch.Tensor | None = None,
        preference_attention_mask: torch.Tensor | None = None,
        preference_embeddings: torch.Tensor | None = None,
        preference_strengths: torch.Tensor | None = None,
        preference_words: torch.Tensor | None = None,
        preference_known: torch.Tensor | None = None,
        example_rows: torch.Tensor | None = None,
        example_lengths: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_outputs: SteerEncoderOutput | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SteerOutput:
        """Computes the loss of examples of sequences, or, for `generate`, the contribution of the next codes.

        Args:
            history, attention_mask: See [`components`].
            preference_input_ids, preference_attention_mask, preference_embeddings, preference_strengths: See
                [`components`], with `num_examples` in place of `batch_size`. Avoided texts are not learned.
            preference_words, preference_known (*optional*): Output of the processor; ignored, as their weights are
                fitted.
            example_rows (`torch.Tensor`, *optional*): Shape `(num_examples,)`, the row of the history of each example;
                defaults to one example per row with the whole history.
            example_lengths (`torch.Tensor`, *optional*): Shape `(num_examples,)`, the number of items of the history
                that each example sees, padding on the right. Required with `example_rows`.
            labels (`torch.Tensor`): Shape `(num_examples,)`, the target items.
            encoder_outputs (`SteerEncoderOutput`), decoder_input_ids (`torch.Tensor`): Arguments of the generic
                generation loop.

        Returns:
            [`SteerOutput`]: `loss`, the mean cross-entropy of the item, or of its codes if there is a decoder; or
                `logits`.
        """
        refuse_unknown(kwargs)
        if labels is None:
            if encoder_outputs is None or decoder_input_ids is None:
                raise ValueError("forward needs labels; to get items call generate or recommend.")
            return SteerOutput(logits=self._next_code_log_probs(encoder_outputs, decoder_input_ids))
        if history is None:
            raise ValueError("forward with labels needs a history; give the processor's output.")
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        vectors = self.item_vectors()
        states = self.head(history, attention_mask, vectors)
        visible = torch.cat([attention_mask.new_ones(len(history), 1), attention_mask], dim=1)
        seen, request, visible = select_examples(states, visible, example_rows, example_lengths)
        preferences = self.embed_preferences(
            len(labels), preference_input_ids, preference_attention_mask, preference_embeddings
        )
        if preference_strengths is None:
            preference_strengths = preferences.new_ones(preferences.shape[:2])
        share = wanted_shares(preference_strengths)
        # even without preferences, so that every weight has a gradient, as DDP requires
        added = self.head.preference_states(request, preferences)
        request = request + (share.unsqueeze(-1).to(added.dtype) * added).sum(1)
        logits = (request @ vectors[1:].T).float()
        if not self.config.use_decoder:
            return SteerOutput(loss=functional.cross_entropy(logits, labels - 1))
        seen = torch.cat([seen, self.decoder_preference(preferences)], dim=1)
        visible = torch.cat([visible, preference_strengths > 0], dim=1)
        item_log_probs = logits.log_softmax(-1)
        return SteerOutput(loss=code_loss(self, self.decoder_gates, item_log_probs, seen, visible, labels))

    # -- generation ---------------------------------------------------------------------------------------------------

    def capture_search(self, enabled: bool = True) -> None:
        """Refuses: the search starts from the scores of all items, which are not captured.

        Raises:
            ValueError: If `enabled`.
        """
        if enabled:
            raise ValueError(
                "Mender_Steer ranks by the scores of all items, and its search is not captured; leave capture_search "
                "out, or use a model that generates from encoder states, such as Mender_Tok."
            )

    def _encode_request(self, inputs: dict[str, Any]) -> tuple[SteerEncoderOutput, torch.Tensor]:
        """Pops the processor's output from `inputs` and scores all items, unless encoder outputs are given."""
        encoder_outputs = inputs.pop("encoder_outputs", None)
        attention_mask = inputs.pop("attention_mask", None)
        encoder_inputs = {name: inputs.pop(name) for name in self.encoder_input_names if name in inputs}
        if encoder_outputs is None:
            if "history" not in encoder_inputs:
                raise ValueError("nothing to score: give the processor's output (history, attention_mask, ...).")
            with evaluation_mode(self):
                encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
        return encoder_outputs, encoder_outputs.decoder_mask

    @torch.no_grad()
    def recommend(
        self,
        k: int = 10,
        num_beams: int | None = None,
        candidates: ItemIds | None = None,
        exclude: ItemIds | None = None,
        allowed_items: torch.Tensor | None = None,
        item_log_weights: ItemLogWeights | None = None,
        return_terms: bool = False,
        **inputs: Any,
    ) -> RecommendOutput:
        """Finds the `k` best items: exactly, or by beam search with a decoder.

        Args:
            k, num_beams, candidates, exclude, allowed_items, item_log_weights: See
                [`GenerativeRetriever.recommend`].
            return_terms (`bool`, defaults to `False`): Whether to return the terms of the scores: `history`, `graph`,
                `preference 1`, ..., `avoid 1`, ..., `given` (the log-weights), `decoder`, and `normalization`, which
                is the same for all items of a request.
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)` without repeats, `scores (batch_size, k)`, log-probabilities
                plus the contribution of the decoder plus log-weights, and `terms`.

        Raises:
            ValueError: As [`GenerativeRetriever.recommend`].
        """
        num_items = self.config.num_items
        check_size(k, num_beams, self.num_active_items)
        encoder_outputs, _ = self._encode_request(inputs)
        if inputs:
            raise ValueError(
                f"recommend does not take {', '.join(sorted(inputs))}; it takes the processor's output "
                f"({', '.join(self.encoder_input_names)}, attention_mask), k, num_beams, candidates, exclude, "
                "allowed_items, item_log_weights and return_terms."
            )
        scores = encoder_outputs.item_scores
        weights = weigh_items(num_items, len(scores), candidates, exclude, allowed_items, item_log_weights)
        num_allowed = self._count_allowed(weights)
        check_enough(num_allowed, k, candidates, self.is_item)
        given = None
        if weights is not None:
            given = weights if isinstance(weights, torch.Tensor) else weights.to_dense(num_items)
            given = given.to(scores.device, scores.dtype)
        summed = scores if given is None else scores + given
        if self.has_decoder:
            steps = FoldedSteps(self, self.decoder_gates, encoder_outputs, adds_items=False)
            num_beams = num_beams or self._default_beams(k, num_allowed)
            found = self._run_search(steps, len(scores), num_beams, self.trie.fold(summed))
            items, best = found.items[:, :k], found.scores[:, :k]
        else:
            top = summed.topk(k)
            items, best = top.indices + 1, top.values
        terms = self._explain(encoder_outputs, given, items, best) if return_terms else None
        return RecommendOutput(items=items, scores=best.float(), terms=terms)

    @staticmethod
    def _explain(
        encoded: SteerEncoderOutput, given: torch.Tensor | None, items: torch.Tensor, scores: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Terms of the scores of the chosen items, `(batch_size, k)` each."""
        rows = (items - 1).clamp(min=0)
        terms = {name: term.gather(1, rows) for name, term in encoded.terms.items()}
        if given is not None:
            terms["given"] = given.gather(1, rows)
        total = torch.stack(list(encoded.terms.values())).sum(0)
        terms["normalization"] = -total.logsumexp(1, keepdim=True).expand_as(scores)
        if encoded.has_decoder:
            terms["decoder"] = scores - torch.stack(list(terms.values())).sum(0)
        return terms

    def _search_beams(
        self,
        encoder_outputs: BaseModelOutput,
        attention_mask: torch.Tensor,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
    ) -> BeamSearchOutput:
        """Runs [`beam_search`] with item scores folded up the trie."""
        steps = FoldedSteps(self, self.decoder_gates, cast(SteerEncoderOutput, encoder_outputs))
        return self._run_search(steps, len(attention_mask), num_beams, node_log_weights)

    def _next_code_log_probs(
        self, encoder_outputs: SteerEncoderOutput, decoder_input_ids: torch.Tensor
    ) -> torch.Tensor:
        """Contribution of the next codes to the score, `(batch_size, 1, vocab_size)`, by a walk from the root."""
        codebook_size = self.config.codebook_size
        level = decoder_input_ids.shape[1] - 1
        prefix = tokens_to_codes(decoder_input_ids[:, 1:], codebook_size)
        steps = FoldedSteps(self, self.decoder_gates, encoder_outputs)
        log_probs = steps(0, None, None)
        for before in range(level):
            codes = prefix[:, before : before + 1]
            log_probs = steps(before + 1, codes, torch.zeros_like(codes))
        full = log_probs.new_full((len(prefix), 1, self.config.vocab_size), torch.finfo(log_probs.dtype).min)
        start = first_token(level, codebook_size)
        full[..., start : start + codebook_size] = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
        full[..., PAD_TOKEN_ID] = 0
        return full

    def _trie_processor(self, node_log_weights: NodeLogWeights | None) -> TrieLogitsProcessor:
        """Logits processor that restricts the generic loop to the catalog."""
        return SteerLogitsProcessor(self.trie, self.config.codebook_size, node_log_weights)

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **kwargs: Any) -> dict[str, Any]:
        """Passes the whole prefix at every step, without a cache."""
        return {"decoder_input_ids": input_ids, "encoder_outputs": kwargs["encoder_outputs"]}


def select_examples(
    states: torch.Tensor, visible: torch.Tensor, rows: torch.Tensor | None, lengths: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Selects the states of training examples from those of their histories.

    Args:
        states (`torch.Tensor`): Shape `(batch_size, 1 + history_length, d_model)`.
        visible (`torch.Tensor`): Shape `(batch_size, 1 + history_length)`, bool; false where padded.
        rows, lengths (`torch.Tensor`, *optional*): Shape `(num_examples,)`, the row of each example and the number of
            its items; defaults to one example per row with the whole history.

    Returns:
        `tuple`: States `(num_examples, 1 + history_length, d_model)`, the last state of each example
        `(num_examples, d_model)`, and the mask of the states.
    """
    if rows is None or lengths is None:
        return states, last_visible(states, visible), visible
    position = torch.arange(visible.shape[1], device=states.device)
    return states[rows], states[rows, lengths], visible[rows] & (position <= lengths.unsqueeze(1))
