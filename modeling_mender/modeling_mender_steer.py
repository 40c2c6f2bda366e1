"""Mender_Steer: one score per item, summed from terms that can be named, and folded up the trie of semantic IDs.

score(item) = history + graph + sum of strengths * what each preference adds - sum of strengths * what it avoids
+ decoder, up to a constant of the request. Weights of the terms depend on the request and are fitted on validation.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_mender_steer import MenderSteerConfig
from .constrained_decoding import BeamSearchOutput, NodeLogWeights, Trie, TrieLogitsProcessor
from .item_head import ItemHead
from .item_words import ItemWords
from .modeling_baselines import TransitionGraph
from .modeling_generative_retriever import NOT_ALLOWED, DecodingSteps, decoder_logits, last_visible, refuse_unknown
from .modeling_mender import MenderOnEmbeddings
from .recommendation import ItemIds, ItemLogWeights, RecommendOutput, check_enough, count_allowed, weigh_items
from .request_weights import (
    COMPONENTS,
    REQUEST_COMPONENTS,
    RequestWeights,
    request_features,
    unfitted_table,
    wanted_shares,
)
from .semantic_ids import PAD_TOKEN_ID, SemanticIds, codes_to_tokens, first_token, tokens_to_codes

ALL_WORDS = 0.999
TEXT_COMPONENTS = slice(COMPONENTS.index("words"), None)  # those of a preference that are bounded by their weight
PARTIAL_MATCH = 0.5  # an item with half of the words of an avoided text, by weight, is not what is avoided
MATCH_POWER = 4.0
UNIFORM_SHARE = 0.3  # of all items alike, beside the graph
STANDS_OUT = 2.0  # standard deviations above the catalogue's mean cosine from which unknown words are found


@dataclass
class SteerOutput(ModelOutput):
    """What `forward` returns.

    Attributes:
        loss (`torch.FloatTensor`, *optional*): With labels; the mean over examples.
        logits (`torch.FloatTensor`, *optional*): With `decoder_input_ids`; shape `(batch_size, target_length,
            vocab_size)`, what the next code adds to the score; 0 for the start token, see [`SteerLogitsProcessor`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None


@dataclass
class SteerEncoderOutput(ModelOutput):
    """A request as the model sees it.

    Attributes:
        last_hidden_state (`torch.FloatTensor`): Shape `(batch_size, 1 + history_length + num_preferences, d_model)`,
            what the decoder attends to.
        item_scores (`torch.FloatTensor`): Shape `(batch_size, num_items)`, log-probabilities of all items without the
            decoder.
        head_scores (`torch.FloatTensor`): The same shape, log-probabilities by the item head alone, on which the
            decoder was trained.
        terms (`dict[str, torch.FloatTensor]`): Of the same shape each, what the scores are the sum of, up to a
            constant of the request.
    """

    last_hidden_state: torch.FloatTensor | None = None
    item_scores: torch.FloatTensor | None = None
    head_scores: torch.FloatTensor | None = None
    terms: dict[str, torch.FloatTensor] | None = None
    decoder_mask: torch.BoolTensor | None = None
    has_decoder: bool | None = None


class MenderSteer(MenderOnEmbeddings, GenerationMixin):
    """Recommends what a history suggests and preferences ask for, by one score per item.

    Terms of the score: the item head ([`ItemHead`]) without preferences, a transition graph with text neighbors, what
    each preference adds (to the item head; the words that an item shares with it; the cosine of the texts), what each
    avoided text takes away, and a decoder of semantic IDs on top of the item head, if there is one. [`RequestWeights`]
    weighs them for each request.

    Args:
        config ([`MenderSteerConfig`]): Sizes; [`from_text_encoder`] makes one.
    """

    config_class = MenderSteerConfig
    main_input_name = "history"
    encoder_input_names = (
        "history", "preference_input_ids", "preference_attention_mask", "preference_embeddings",
        "preference_strengths", "preference_words", "preference_known",
    )  # fmt: skip
    _no_split_modules = ["T5Block", "SASRecLayer"]

    def __init__(self, config: MenderSteerConfig) -> None:
        super().__init__(config)
        # compressed sparse rows: the items of word w are word_items[word_starts[w - 1]:word_starts[w]], from 0
        self.register_buffer("word_starts", torch.zeros(1 + config.num_words, dtype=torch.long), persistent=True)
        self.register_buffer("word_items", torch.zeros(config.num_word_items, dtype=torch.long), persistent=True)
        self.register_buffer("word_weights", torch.zeros(1 + config.num_words), persistent=True)
        # mean and deviation of the largest cosine that unrelated sentences have; 0 where not known
        self.register_buffer("unrelated_cosine", torch.zeros(2), persistent=True)
        self.head = ItemHead(config)
        self.graph = TransitionGraph(config.graph_config)
        self.request_weights = RequestWeights()
        # 0: the decoder says nothing, and the codes' probabilities are the item head's
        self.decoder_gates = nn.Parameter(torch.zeros(config.num_levels), requires_grad=config.use_decoder)
        if config.use_decoder:
            self.decoder_preference = nn.Linear(config.embedding_size, config.d_model)
        else:
            self.decoder.requires_grad_(False)
        self._vectors: tuple[tuple, torch.Tensor] | None = None
        self.post_init()
        self.generation_config.use_cache = False
        self.freeze_text_encoder()

    @classmethod
    def from_text_encoder(
        cls,
        name_or_path: str,
        semantic_ids: SemanticIds,
        words: ItemWords,
        **config_kwargs: Any,
    ) -> "MenderSteer":
        """Builds a new model around a pretrained text encoder, its item head random, its catalogue set but for the
        item embeddings and the graph.

        Args:
            name_or_path (`str`): Any checkpoint that `AutoModelForTextEncoding` loads.
            semantic_ids ([`SemanticIds`]): The catalogue's semantic IDs.
            words ([`ItemWords`]): The words of its texts.
            config_kwargs: Further fields of the configuration.
        """
        model = super().from_text_encoder(
            name_or_path, semantic_ids, num_words=len(words), num_word_items=len(words.items), **config_kwargs
        )
        model.word_starts.copy_(torch.tensor(words.starts))
        model.word_items.copy_(torch.tensor(words.items))
        model.word_weights[1:].copy_(torch.tensor(words.idf))
        return model

    @torch.no_grad()
    def set_unrelated(self, embeddings: torch.Tensor) -> None:
        """Tells the model what sentences look like that have nothing to do with its catalogue.

        A text without a word of the catalogue, and no nearer to an item than these, counts for nothing.

        Args:
            embeddings (`torch.Tensor`): Shape `(num_sentences, embedding_size)`, at least two, made by `embed_text`.
        """
        nearest = (embeddings.to(self.item_embeddings) @ self.item_embeddings[1:].T).float().amax(1)
        self.unrelated_cosine.copy_(torch.stack([nearest.mean(), nearest.std()]))

    def set_graph(self, graph: TransitionGraph) -> None:
        """Gives the model its transition graph.

        Raises:
            ValueError: If the graph is of another catalogue.
        """
        if graph.config.num_items != self.config.num_items:
            raise ValueError(
                f"the graph has {graph.config.num_items} items, and the catalogue {self.config.num_items}; build it "
                "from sequences of this catalogue."
            )
        self.graph, self.config.graph_config = graph, graph.config

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.zeros_(self.decoder_gates)
            init.zeros_(self.unrelated_cosine)
        elif isinstance(module, ItemHead):
            init.zeros_(module.start)
        elif isinstance(module, RequestWeights):
            init.copy_(module.table, unfitted_table())

    # -- the terms of a score -----------------------------------------------------------------------------------------

    def item_vectors(self) -> torch.Tensor:
        """Vectors of all items in the item head, `(1 + num_items, d_model)`; made once where nothing is learned."""
        if torch.is_grad_enabled():
            return self.head.item_vectors(self.item_embeddings)
        tables = (self.head.item_ids.weight, self.head.item_texts.weight, self.head.item_texts.bias)
        key = tuple((table.data_ptr(), table._version, table.dtype) for table in (*tables, self.item_embeddings))
        if self._vectors is None or self._vectors[0] != key:
            self._vectors = (key, self.head.item_vectors(self.item_embeddings))
        return self._vectors[1]

    def components(
        self,
        history: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        preference_input_ids: torch.Tensor | None = None,
        preference_attention_mask: torch.Tensor | None = None,
        preference_embeddings: torch.Tensor | None = None,
        preference_strengths: torch.Tensor | None = None,
        preference_words: torch.Tensor | None = None,
        preference_known: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Everything that scores are made of, before it is weighed.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first, 0 where padded.
            attention_mask (`torch.Tensor`, *optional*): The same shape; 0 where padded, on either side.
            preference_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, sequence_length)`.
            preference_attention_mask (`torch.Tensor`, *optional*): The same shape.
            preference_embeddings (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, embedding_size)`,
                stands for the two above.
            preference_strengths (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences)`; below 0 where a
                text is avoided, 0 where padded; defaults to 1 each.
            preference_words (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, num_words)`, the
                catalogue's words in each text, from 1; 0 where padded.
            preference_known (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences)`, the share of a text's
                words that the catalogue has.

        Returns:
            `dict`: `history` and `graph (batch_size, num_items)`, log-probabilities; `head`, `words`, `all_words` and
            `cosine (batch_size, num_preferences, num_items)`; `strengths` (less where a text has nothing to do with
            the catalogue), `known (batch_size, num_preferences)`; `avoided (num_preferences,)`;
            `features (batch_size, num_features)`; `states (batch_size, 1 + history_length, d_model)`; `embeddings`.
        """
        history, attention_mask = self._check_history(history, attention_mask)
        batch_size = len(history)
        preference_embeddings = self.embed_preferences(
            batch_size, preference_input_ids, preference_attention_mask, preference_embeddings
        )
        num_preferences = preference_embeddings.shape[1]
        if preference_strengths is None:
            preference_strengths = preference_embeddings.new_ones(batch_size, num_preferences)
        strengths = preference_strengths.float()
        known = torch.ones_like(strengths) if preference_known is None else preference_known.float()
        vectors = self.item_vectors()
        states = self.head(history, attention_mask, vectors)
        visible = torch.cat([attention_mask.new_ones(batch_size, 1), attention_mask], dim=1)
        state = last_visible(states, visible)
        added = self.head.preference_states(state, preference_embeddings)
        words = self._word_shares(preference_words, batch_size, num_preferences)
        all_words = (words > ALL_WORDS).to(words.dtype)
        cosine = (preference_embeddings @ self.item_embeddings[1:].T).float()
        avoided = (strengths < 0).any(0)
        strengths = strengths * self._relevance(cosine, known)
        nearest = preference_embeddings @ self.item_embeddings[history].transpose(1, 2)
        nearest = nearest.masked_fill(~attention_mask.unsqueeze(1), -1).amax(-1)  # no padding is nearer than an item
        nearest = torch.where(attention_mask.any(1, keepdim=True), nearest, 0)
        columns = (history - 1).clamp(min=0).unsqueeze(1).expand(-1, num_preferences, -1)
        bought = words.gather(2, columns).masked_fill(~attention_mask.unsqueeze(1), 0).amax(-1)
        return {
            "history": (state @ vectors[1:].T).float().log_softmax(-1),
            "graph": self._graph_scores(history, attention_mask),
            "head": (added @ vectors[1:].T).float(),
            "words": words,
            "all_words": all_words,
            "cosine": cosine,
            "strengths": strengths,
            "avoided": avoided,
            "known": known,
            "features": request_features(attention_mask.sum(1), strengths, nearest, bought, known, all_words.sum(-1)),
            "states": states,
            "visible": visible,
            "embeddings": preference_embeddings,
        }

    def _relevance(self, cosine: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """How far each text has to do with the catalogue, in [0, 1]: by its words, or by the cosine of the item that
        is nearest to it, from what is usual for unrelated sentences to two deviations above."""
        usual, deviation = self.unrelated_cosine.float()
        near = ((cosine.amax(-1) - usual) / (2 * deviation).clamp(min=1e-9)).clamp(0, 1)
        return torch.where((known > 0) | (deviation == 0), 1.0, near)

    def _check_history(
        self, history: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The history and its mask as bool, checked against the sizes."""
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        longest = int(attention_mask.sum(1).max()) if history.numel() else 0
        if longest > self.config.max_history_length:
            raise ValueError(
                f"history has {longest} items, the model takes {self.config.max_history_length}; keep the most recent."
            )
        if history.numel() and int(history.max()) > self.config.num_items:
            raise ValueError(
                f"history contains item {int(history.max())}, and the catalogue has {self.config.num_items} items; "
                "let the processor check ids, or map them to the benchmark's items table."
            )
        return history, attention_mask

    def _graph_scores(self, history: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the graph, `(batch_size, num_items)`, mixed with a share of all items alike: an item
        that the graph does not reach is improbable, not out of the question."""
        scores = self.graph.score_items(history, attention_mask).float()
        uniform = scores.new_full((), math.log(UNIFORM_SHARE / self.config.num_items))
        return torch.logaddexp(scores, uniform) - math.log(1 + UNIFORM_SHARE)

    def _word_shares(self, words: torch.Tensor | None, batch_size: int, num_preferences: int) -> torch.Tensor:
        """The share of each text's known words, by weight, that each item has: `(batch_size, num_preferences,
        num_items)`."""
        num_items = self.config.num_items
        shares = torch.zeros(batch_size * num_preferences * num_items, device=self.item_embeddings.device)
        if words is not None and words.numel():
            flat = words.flatten(0, 1)
            text, column = (flat > 0).nonzero(as_tuple=True)
            word = flat[text, column]
            weight = self.word_weights.float()[word]
            totals = shares.new_zeros(len(flat)).index_add_(0, text, weight)
            first, count = self.word_starts[word - 1], self.word_starts[word] - self.word_starts[word - 1]
            asked = torch.repeat_interleave(count)
            entry = torch.arange(len(asked), device=word.device) + (first - count.cumsum(0) + count)[asked]
            shares.index_add_(
                0, text[asked] * num_items + self.word_items[entry], (weight / totals[text])[asked].to(shares.dtype)
            )
        return shares.view(batch_size, num_preferences, num_items)

    def weigh(self, components: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The terms of a score, `(batch_size, num_items)` each, by name.

        A term of several preferences, such as `preference 2`, is 0 for requests that have fewer.
        """
        strengths = components["strengths"]
        largest = strengths.clamp(min=0).amax(1) if strengths.shape[1] else strengths.new_zeros(len(strengths))
        weights = self.request_weights(components["features"], largest)
        terms = {
            "history": weights[:, 0:1] * components["history"],
            "graph": weights[:, 1:2] * components["graph"],
        }
        # beside what the preferences add at most, so that they do not outweigh what is avoided
        penalty = self.config.avoid_weight + largest * weights[:, TEXT_COMPONENTS].sum(1)
        shares = wanted_shares(strengths)
        numbers = {"preference": 0, "avoid": 0}
        for column in range(strengths.shape[1]):
            kind = "avoid" if bool(components["avoided"][column]) else "preference"
            numbers[kind] += 1
            if kind == "avoid":
                term = penalty.unsqueeze(1) * self._avoided(components, column)
                terms[f"avoid {numbers[kind]}"] = strengths[:, column, None].clamp(max=0) * term
                continue
            term = sum(
                weights[:, number, None] * components[name][:, column]
                for number, name in enumerate(COMPONENTS)
                if number >= REQUEST_COMPONENTS
            )
            terms[f"preference {numbers[kind]}"] = shares[:, column, None] * term
        return terms

    @staticmethod
    def _avoided(components: dict[str, torch.Tensor], column: int) -> torch.Tensor:
        """How much an item is what a text avoids, in [0, 1], `(batch_size, num_items)`.

        By words where the catalogue has the text's words: an item that lacks the half of them is none. By the cosine
        where it has not: items that stand out from the catalogue.
        """
        by_words = ((components["words"][:, column] - PARTIAL_MATCH) / (1 - PARTIAL_MATCH)).clamp(0, 1) ** MATCH_POWER
        cosine = components["cosine"][:, column]
        deviation = (cosine - cosine.mean(1, keepdim=True)) / cosine.std(1, keepdim=True).clamp(min=1e-6)
        by_cosine = torch.sigmoid(MATCH_POWER * (deviation - STANDS_OUT))
        return torch.lerp(by_cosine, by_words, components["known"][:, column, None])

    def encode(self, attention_mask: torch.Tensor | None = None, **inputs: torch.Tensor) -> SteerEncoderOutput:
        """Scores of all items, and what the decoder attends to; see [`components`] for the arguments."""
        components = self.components(attention_mask=attention_mask, **inputs)
        terms = self.weigh(components)
        shares = wanted_shares(components["strengths"])
        head = components["history"] + (shares.unsqueeze(-1) * components["head"]).sum(1)
        states, visible = components["states"], components["visible"]
        if self.config.use_decoder:
            embeddings = components["embeddings"]
            states = torch.cat([states, self.decoder_preference(embeddings).to(states.dtype)], dim=1)
            visible = torch.cat([visible, shares > 0], dim=1)
        return SteerEncoderOutput(
            last_hidden_state=states,
            item_scores=sum(terms.values()).log_softmax(-1),
            head_scores=head.log_softmax(-1),
            terms=terms,
            decoder_mask=visible,
            has_decoder=self.has_decoder,
        )

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
        """The loss of many examples of each sequence, or, for `generate`, what the next codes add to the score.

        Args:
            history, attention_mask: See [`components`].
            preference_input_ids, preference_attention_mask, preference_embeddings, preference_strengths: See
                [`components`], `num_examples` in place of `batch_size`. What is avoided is not learned.
            preference_words, preference_known (*optional*): Of the processor; not read, for their weights are fitted.
            example_rows (`torch.Tensor`, *optional*): Shape `(num_examples,)`, the row of the history that an example
                belongs to; defaults to one example per row, which sees all of it.
            example_lengths (`torch.Tensor`, *optional*): Shape `(num_examples,)`, items of it that the example sees;
                padding of the history is on the right. Given with `example_rows`.
            labels (`torch.Tensor`): Shape `(num_examples,)`, the items that followed.
            encoder_outputs (`SteerEncoderOutput`), decoder_input_ids (`torch.Tensor`): Of the generic generation loop.

        Returns:
            [`SteerOutput`]: `loss`, the mean cross-entropy of the item, or of its codes under the decoder on top of
                the item head; or `logits`.
        """
        refuse_unknown(kwargs)
        if labels is None:
            if encoder_outputs is None or decoder_input_ids is None:
                raise ValueError("forward needs labels; to get items call generate or recommend.")
            return SteerOutput(logits=self._next_code_log_probs(encoder_outputs, decoder_input_ids))
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        vectors = self.item_vectors()
        states = self.head(history, attention_mask, vectors)
        visible = torch.cat([attention_mask.new_ones(len(history), 1), attention_mask], dim=1)
        if example_rows is None:
            seen, request = states, last_visible(states, visible)
        else:
            position = torch.arange(visible.shape[1], device=history.device)
            visible = visible[example_rows] & (position <= example_lengths.unsqueeze(1))
            seen, request = states[example_rows], states[example_rows, example_lengths]  # (num_examples, ..., d_model)
        preferences = self.embed_preferences(
            len(labels), preference_input_ids, preference_attention_mask, preference_embeddings
        )
        if preference_strengths is None:
            preference_strengths = preferences.new_ones(preferences.shape[:2])
        share = wanted_shares(preference_strengths)
        # without preferences too, on tensors of no columns: every weight has a gradient, which DDP waits for
        added = self.head.preference_states(request, preferences)
        request = request + (share.unsqueeze(-1).to(added.dtype) * added).sum(1)
        logits = (request @ vectors[1:].T).float()
        if not self.config.use_decoder:
            return SteerOutput(loss=functional.cross_entropy(logits, labels - 1))
        seen = torch.cat([seen, self.decoder_preference(preferences)], dim=1)
        visible = torch.cat([visible, preference_strengths > 0], dim=1)
        return SteerOutput(loss=self._code_loss(logits.log_softmax(-1), seen, visible, labels))

    def _code_loss(
        self, item_log_probs: torch.Tensor, states: torch.Tensor, visible: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Mean cross-entropy of the codes under the decoder's product with the folded item head.

        At each level the codes that continue the target's prefix share one: by the item head's probability below
        each, times what the decoder makes of it. With gates of 0 this is the cross-entropy of the item.

        Args:
            item_log_probs (`torch.Tensor`): Shape `(num_examples, num_items)`, by the item head.
            states (`torch.Tensor`): Shape `(num_examples, sequence_length, d_model)`, what the decoder attends to.
            visible (`torch.Tensor`): Shape `(num_examples, sequence_length)`, bool.
            labels (`torch.Tensor`): Shape `(num_examples,)`, item ids.
        """
        codes = self.item_semantic_ids[labels - 1]
        tokens = codes_to_tokens(codes, self.config.codebook_size)
        decoder_input_ids = functional.pad(tokens[:, :-1], (1, 0), value=PAD_TOKEN_ID)
        output = self.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=states,
            encoder_attention_mask=visible,
            use_cache=False,
        )
        logits = decoder_logits(self.decoder, output.last_hidden_state).float()
        log_probs = item_log_probs[:, self.trie.leaf_items - 1]  # in the order of the leaves
        # the first level sums over the whole catalogue; the others over the items of one prefix
        nodes = torch.zeros(len(labels), dtype=torch.long, device=labels.device)
        loss = torch.zeros((), device=labels.device)
        for level, trie_level in enumerate(self.trie.levels):
            children, valid = self.trie.children(level, nodes.unsqueeze(1))
            children, valid = children.squeeze(1), valid.squeeze(1)  # (num_examples, max_children)
            folded = self._fold_children(log_probs, level, children, valid)
            child_codes = trie_level.codes[children].long()
            said = logits[:, level, first_token(level, self.config.codebook_size) :].gather(1, child_codes)
            product = (folded + self.decoder_gates[level] * said).masked_fill(~valid, NOT_ALLOWED)
            is_target = valid & (child_codes == codes[:, level, None])
            place = is_target.int().argmax(1, keepdim=True)
            loss = loss - product.log_softmax(1).gather(1, place).mean()
            nodes = children.gather(1, place).squeeze(1)
        return loss

    def _fold_children(
        self, log_probs: torch.Tensor, level: int, children: torch.Tensor, valid: torch.Tensor
    ) -> torch.Tensor:
        """Log-sum-exps of the leaves below some nodes, `(num_examples, max_children)`.

        Args:
            log_probs (`torch.Tensor`): Shape `(num_examples, num_items)`, in the order of the leaves.
            level (`int`): Of the nodes.
            children (`torch.Tensor`): Shape `(num_examples, max_children)`, siblings of one parent each.
            valid (`torch.Tensor`): The same shape, which of them are nodes.
        """
        trie_level = self.trie.levels[level]
        if level == 0:  # the same nodes for all: one pass over the catalogue
            nodes = torch.arange(len(trie_level.codes), device=children.device)
            number = nodes.repeat_interleave(trie_level.first_leaf.diff())  # (num_items,), the node above each leaf
            largest = log_probs.detach().amax(1, keepdim=True)
            total = torch.zeros(len(log_probs), len(trie_level.codes), device=log_probs.device)
            total = total.index_add(1, number, (log_probs - largest).exp())
            return (total.clamp(min=1e-37).log() + largest).gather(1, children)
        first, last = trie_level.first_leaf[children].long(), trie_level.first_leaf[children + 1].long()
        start = torch.where(valid, first, log_probs.shape[1]).amin(1, keepdim=True)
        stop = torch.where(valid, last, 0).amax(1, keepdim=True)
        width = int((stop - start).max())
        leaves = start + torch.arange(width, device=start.device)
        inside = leaves < stop
        values = log_probs.gather(1, leaves.clamp(max=log_probs.shape[1] - 1)).masked_fill(~inside, NOT_ALLOWED)
        largest = values.detach().amax(1, keepdim=True)
        # the sibling that each leaf is below; padding repeats the last node of the level, and must not be found
        bounds = first.masked_fill(~valid, log_probs.shape[1])
        sibling = (torch.searchsorted(bounds, leaves, right=True) - 1).clamp(min=0)
        total = torch.zeros(children.shape, device=log_probs.device)
        total = total.scatter_add(1, sibling, (values - largest).exp() * inside)
        return total.clamp(min=1e-37).log() + largest

    # -- generation ---------------------------------------------------------------------------------------------------

    @property
    def has_decoder(self) -> bool:
        """Whether the decoder adds anything to the item scores."""
        return self.config.use_decoder and bool(self.decoder_gates.any())

    def _encode_request(self, inputs: dict[str, Any]) -> tuple[SteerEncoderOutput, torch.Tensor]:
        encoder_outputs = inputs.pop("encoder_outputs", None)
        attention_mask = inputs.pop("attention_mask", None)
        encoder_inputs = {name: inputs.pop(name) for name in self.encoder_input_names if name in inputs}
        if encoder_outputs is None:
            if "history" not in encoder_inputs:
                raise ValueError("nothing to score: give the processor's output (history, attention_mask, ...).")
            was_training = self.training
            self.eval()
            try:
                encoder_outputs = self.encode(attention_mask=attention_mask, **encoder_inputs)
            finally:
                self.train(was_training)
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
        """The `k` best items: exactly, and with a decoder as far as the beams see ([`GenerativeRetriever.recommend`]).

        Args:
            k, num_beams, candidates, exclude, allowed_items, item_log_weights: See
                [`GenerativeRetriever.recommend`].
            return_terms (`bool`, defaults to `False`): Whether to return what each score is the sum of: `history`,
                `graph`, `preference 1`, ..., `avoid 1`, ..., `given` (the log-weights), `decoder`, and
                `normalization`, the same for all items of a request.
            inputs: The processor's output.

        Returns:
            [`RecommendOutput`]: `items (batch_size, k)`, no item twice, `scores (batch_size, k)`, log-probabilities
                plus what the decoder makes of the item plus log-weights, and `terms`.

        Raises:
            ValueError: As [`GenerativeRetriever.recommend`].
        """
        num_items = self.config.num_items
        self._check_size(k, num_beams)
        encoder_outputs, _ = self._encode_request(inputs)
        if inputs:
            raise ValueError(
                f"recommend does not take {', '.join(sorted(inputs))}; it takes the processor's output "
                f"({', '.join(self.encoder_input_names)}, attention_mask), k, num_beams, candidates, exclude, "
                "allowed_items, item_log_weights and return_terms."
            )
        scores = encoder_outputs.item_scores
        weights = weigh_items(num_items, len(scores), candidates, exclude, allowed_items, item_log_weights)
        num_allowed = count_allowed(weights, num_items)
        check_enough(num_allowed, k)
        given = None
        if weights is not None:
            given = weights if isinstance(weights, torch.Tensor) else weights.to_dense(num_items)
            given = given.to(scores.device, scores.dtype)
        summed = scores if given is None else scores + given
        if self.has_decoder:
            steps = FoldedSteps(self, encoder_outputs, adds_items=False)
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
        """Terms of the scores of chosen items, `(batch_size, k)` each."""
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
        encoder_outputs: SteerEncoderOutput,
        attention_mask: torch.Tensor,
        num_beams: int,
        node_log_weights: NodeLogWeights | None,
    ) -> BeamSearchOutput:
        steps = FoldedSteps(self, encoder_outputs)
        return self._run_search(steps, len(attention_mask), num_beams, node_log_weights)

    def _next_code_log_probs(
        self, encoder_outputs: SteerEncoderOutput, decoder_input_ids: torch.Tensor
    ) -> torch.Tensor:
        """What the codes after prefixes add to the score, `(batch_size, 1, vocab_size)`, by walking the whole path."""
        codebook_size = self.config.codebook_size
        level = decoder_input_ids.shape[1] - 1
        prefix = tokens_to_codes(decoder_input_ids[:, 1:], codebook_size)
        steps = FoldedSteps(self, encoder_outputs)
        log_probs, codes = steps(0, None, None), None
        for before in range(level):
            codes = prefix[:, before : before + 1]
            log_probs = steps(before + 1, codes, torch.zeros_like(codes))
        full = log_probs.new_full((len(prefix), 1, self.config.vocab_size), torch.finfo(log_probs.dtype).min)
        start = first_token(level, codebook_size)
        full[..., start : start + codebook_size] = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
        full[..., PAD_TOKEN_ID] = 0
        return full

    def _trie_processor(self, node_log_weights: NodeLogWeights | None) -> TrieLogitsProcessor:
        return SteerLogitsProcessor(self.trie, self.config.codebook_size, node_log_weights)

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **kwargs: Any) -> dict[str, Any]:
        """The whole prefix at every step: there is no cache."""
        return {"decoder_input_ids": input_ids, "encoder_outputs": kwargs["encoder_outputs"]}


class SteerLogitsProcessor(TrieLogitsProcessor):
    """Undoes the normalization of the generic beam search: with a decoder, the codes after a prefix do not sum to 1.

    The logit of the start token is 0, so its score is what the normalization has subtracted.
    """

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return super().__call__(input_ids, scores - scores[:, PAD_TOKEN_ID, None])


class FoldedSteps:
    """Code probabilities of item scores, folded up the trie, for [`beam_search`]: child minus parent at every edge.

    With a decoder, each code's share among its siblings is multiplied by what the decoder makes of it, normalized
    under the item head, as in training.

    Args:
        model ([`MenderSteer`]): In evaluation mode.
        encoder_outputs ([`SteerEncoderOutput`]): Of the requests.
        adds_items (`bool`, defaults to `True`): Whether item scores are part of the steps; where not, only the
            decoder's part is.
    """

    def __init__(self, model: MenderSteer, encoder_outputs: SteerEncoderOutput, adds_items: bool = True) -> None:
        self.trie: Trie = model.trie
        self.codebook_size = model.config.codebook_size
        self.item_nodes = self.trie.fold(encoder_outputs.item_scores) if adds_items else None
        self.decoder, self.gates = None, model.decoder_gates
        self.batch_size = len(encoder_outputs.item_scores)
        if model.has_decoder:
            self.head_nodes = self.trie.fold(encoder_outputs.head_scores)
            self.decoder = DecodingSteps(
                model.decoder, encoder_outputs.last_hidden_state, encoder_outputs.decoder_mask,
                model.config.num_levels, self.codebook_size,
            )  # fmt: skip
        self.nodes = torch.zeros(self.batch_size, 1, dtype=torch.long, device=self.trie.device)

    def __call__(self, level: int, codes: torch.Tensor | None, parents: torch.Tensor | None) -> torch.Tensor:
        """See [`beam_search`]; `-inf` where no item has a code."""
        if codes is not None:
            self._descend(level - 1, codes, parents)
        children, valid = self.trie.children(level, self.nodes)
        child_codes = self.trie.levels[level].codes[children].long()
        step = torch.zeros(children.shape, device=children.device)
        if self.item_nodes is not None:
            step = step + self._share(self.item_nodes, level, children)
        if self.decoder is not None:
            log_probs = self.gates[level] * self.decoder(level, codes, parents)
            correction = log_probs.gather(-1, child_codes)
            inside = self._share(self.head_nodes, level, children) + correction
            step = step + correction - inside.masked_fill(~valid, -torch.inf).logsumexp(-1, keepdim=True)
        full = step.new_full((*self.nodes.shape, self.codebook_size), -torch.inf)
        # several places of padding may share a code: the largest is the valid one
        return full.scatter_reduce(-1, child_codes, step.masked_fill(~valid, -torch.inf), "amax")

    def _descend(self, level: int, codes: torch.Tensor, parents: torch.Tensor) -> None:
        """Follows the chosen codes."""
        nodes = self.nodes.gather(1, parents)
        children, valid = self.trie.children(level, nodes)
        matches = valid & (self.trie.levels[level].codes[children] == codes.unsqueeze(-1))
        self.nodes = children.gather(-1, matches.int().argmax(-1, keepdim=True)).squeeze(-1)

    def _share(self, folded: list[torch.Tensor], level: int, children: torch.Tensor) -> torch.Tensor:
        """Log of a child's share in its parent, `(batch_size, width, max_children)`."""
        child = folded[level].gather(1, children.flatten(1)).view(children.shape)
        if level == 0:
            return child - folded[0].logsumexp(1).view(-1, 1, 1)
        return child - folded[level - 1].gather(1, self.nodes).unsqueeze(-1)
