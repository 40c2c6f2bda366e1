"""Item scores of Mender_Steer: one score per item of the catalog as a sum of named terms.

score(item) = history + graph + sum of strengths * preference term - sum of strengths * avoidance term + decoder, up to
a constant per request. The weights of the terms depend on the request and are fitted on validation rows.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn
from transformers import initialization as init

from .configuration_baselines import TransitionGraphConfig
from .configuration_mender_steer import MenderSteerConfig
from .folded_decoding import SteerEncoderOutput
from .item_head import ItemHead
from .item_words import ItemWords
from .modeling_baselines import TransitionGraph, check_sparse_rows, nearest_trained
from .modeling_mender_base import MenderOnEmbeddings
from .recommendation import check_history, check_words
from .request_weights import (
    COMPONENTS,
    REQUEST_COMPONENTS,
    RequestWeights,
    request_features,
    unfitted_table,
    wanted_shares,
)
from .semantic_ids import SemanticIds
from .steer_terms import ALL_WORDS, WordTable, avoided_match, mix_uniform, past_matches, relevance, word_shares
from .t5_stacks import last_visible

TEXT_COMPONENTS = slice(COMPONENTS.index("words"), None)  # components of a preference that their weight bounds

Model = TypeVar("Model", bound="SteerScores")


class SteerScores(MenderOnEmbeddings):
    """Scores all items of the catalog for requests.

    Terms of the score: the item head ([`ItemHead`]) without preferences, a transition graph with text neighbors, a
    gain for each preference (from the item head, the words shared with an item, and the cosine of the texts), a
    penalty for each avoided text, and optionally a decoder of semantic IDs on top of the item head.
    [`RequestWeights`] weighs them for each request.

    Args:
        config ([`MenderSteerConfig`]): Sizes; [`from_text_encoder`] makes one.
    """

    config_class = MenderSteerConfig
    main_input_name = "history"
    encoder_input_names = (
        "history",
        "preference_input_ids",
        "preference_attention_mask",
        "preference_embeddings",
        "preference_strengths",
        "preference_words",
        "preference_known",
    )
    _no_split_modules = ["T5Block", "SASRecLayer"]
    word_starts: torch.Tensor
    word_items: torch.Tensor
    word_weights: torch.Tensor
    unrelated_cosine: torch.Tensor

    # after the first release: the ninth feature of `request_weights`, and what unrelated sentences are like
    later_weights = ("request_weights.table", "unrelated_cosine")

    def __init__(self, config: MenderSteerConfig) -> None:
        super().__init__(config)
        # compressed sparse rows: the items of word w are word_items[word_starts[w - 1]:word_starts[w]], from 0
        self.register_buffer("word_starts", torch.zeros(1 + config.num_words, dtype=torch.long), persistent=True)
        self.register_buffer("word_items", torch.zeros(config.num_word_items, dtype=torch.long), persistent=True)
        self.register_buffer("word_weights", torch.zeros(1 + config.num_words), persistent=True)
        # mean and deviation of the largest cosine of unrelated sentences; 0 if not set
        self.register_buffer("unrelated_cosine", torch.zeros(2), persistent=True)
        self.head = ItemHead(config)
        self.graph = TransitionGraph(cast(TransitionGraphConfig, config.graph_config))
        self.request_weights = RequestWeights()
        # at 0 the decoder has no effect, and the probabilities of codes are those of the item head
        self.decoder_gates = nn.Parameter(torch.zeros(config.num_levels), requires_grad=config.use_decoder)
        if config.use_decoder:
            self.decoder_preference = nn.Linear(cast(int, config.embedding_size), config.d_model)
        else:
            self.decoder.requires_grad_(False)
        self._vectors: tuple[tuple, torch.Tensor] | None = None
        self.post_init()
        self.generation_config.use_cache = False
        self.freeze_text_encoder()

    @classmethod
    def from_text_encoder(
        cls: type[Model],
        name_or_path: str,
        semantic_ids: SemanticIds,
        words: ItemWords | None = None,
        **config_kwargs: Any,
    ) -> Model:
        """Builds a model around a pretrained text encoder, with a random item head and its catalog set, except for
        the item embeddings and the graph.

        Args:
            name_or_path (`str`): A checkpoint that `AutoModelForTextEncoding` loads.
            semantic_ids ([`SemanticIds`]): The catalog's semantic IDs.
            words ([`ItemWords`]): Words of the catalog's texts; required.
            config_kwargs: Further fields of the configuration.

        Raises:
            ValueError: Without `words`.
        """
        if words is None:
            raise ValueError("words is missing; give the ItemWords of the catalog's texts.")
        model = super().from_text_encoder(
            name_or_path, semantic_ids, num_words=len(words), num_word_items=len(words.items), **config_kwargs
        )
        model.word_starts.copy_(torch.tensor(words.starts))
        model.word_items.copy_(torch.tensor(words.items))
        model.word_weights[1:].copy_(torch.tensor(words.idf))
        return model

    @torch.no_grad()
    def set_unrelated(self, embeddings: torch.Tensor) -> None:
        """Sets the cosines of sentences that are unrelated to the catalog.

        A text without a word of the catalog that is no nearer to an item than these sentences has no weight.

        Args:
            embeddings (`torch.Tensor`): Shape `(num_sentences, embedding_size)`, at least two, computed by
                `embed_text`.
        """
        nearest = (embeddings.to(self.item_embeddings) @ self.item_embeddings[1:].T).float().amax(1)
        self.unrelated_cosine.copy_(torch.stack([nearest.mean(), nearest.std()]))

    def _embedded_texts(
        self, items: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, str]], processor: Any
    ) -> list[str]:
        """Texts of new items whose embeddings are those of the items: the ones that their words are taken from."""
        return [item["text"] for item in new]

    def _append_items(self, codes: torch.Tensor, embeddings: torch.Tensor | None, processor: Any) -> None:
        """Appends new items to item head, graph and words; the head's embedding of a new item is the mean of those of
        the trained items with the nearest texts."""
        new = cast(torch.Tensor, embeddings)
        words = processor.words  # read before anything is changed
        self.graph.add_items(self.item_embeddings[1:].float(), new.float())
        self.config.graph_config = self.graph.config
        ids = self.head.item_ids
        shares, nearest = nearest_trained(self.item_embeddings[1 : 1 + self.num_trained_items].float(), new.float())
        learned = (shares.unsqueeze(-1) * ids.weight[1 + nearest].float()).sum(1).to(ids.weight.dtype)
        ids.weight = nn.Parameter(torch.cat([ids.weight, learned]), requires_grad=ids.weight.requires_grad)
        ids.num_embeddings = len(ids.weight)
        self._set_words(words)
        super()._append_items(codes, embeddings, processor)

    def _set_words(self, words: ItemWords) -> None:
        """Replaces the table of words."""
        device = self.word_starts.device
        self.config.num_words, self.config.num_word_items = len(words), len(words.items)
        self.word_starts = torch.tensor(words.starts, dtype=torch.long, device=device)
        self.word_items = torch.tensor(words.items, dtype=torch.long, device=device)
        weights = torch.tensor([0.0, *words.idf], dtype=self.word_weights.dtype, device=device)
        self.word_weights = weights

    def set_graph(self, graph: TransitionGraph) -> None:
        """Sets the transition graph.

        Raises:
            ValueError: If the graph is of another catalog.
        """
        if graph.config.num_items != self.config.num_items:
            raise ValueError(
                f"the graph has {graph.config.num_items} items, and the catalog {self.config.num_items}; build it "
                "from sequences of this catalog."
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
        """Vectors of all items in the item head, `(1 + num_items, d_model)`; cached without gradients."""
        if torch.is_grad_enabled():
            return self.head.item_vectors(self.item_embeddings)
        tables = (self.head.item_ids.weight, self.head.item_texts.weight, self.head.item_texts.bias)
        key = tuple((table.data_ptr(), table._version, table.dtype) for table in (*tables, self.item_embeddings))
        if self._vectors is None or self._vectors[0] != key:
            self._vectors = (key, self.head.item_vectors(self.item_embeddings))
        return self._vectors[1]

    def check_tables(self) -> None:
        """Checks semantic IDs, and the items of each word."""
        super().check_tables()
        check_sparse_rows("word_starts", self.word_starts, "word_items", self.word_items, self.config.num_items)

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
        """Computes the components of scores before they are weighted.

        Args:
            history (`torch.Tensor`): Shape `(batch_size, history_length)`, item ids oldest first, 0 where padded.
            attention_mask (`torch.Tensor`, *optional*): The same shape; 0 where padded, on either side.
            preference_input_ids (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, sequence_length)`.
            preference_attention_mask (`torch.Tensor`, *optional*): The same shape.
            preference_embeddings (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, embedding_size)`,
                replaces the two above.
            preference_strengths (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences)`; below 0 for an
                avoided text, 0 where padded; defaults to 1 each.
            preference_words (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences, num_words)`, ids of
                the catalog's words in each text, from 1; 0 where padded.
            preference_known (`torch.Tensor`, *optional*): Shape `(batch_size, num_preferences)`, the share of a text's
                words that the catalog has; defaults to 1 each.

        Returns:
            `dict`: `history` and `graph (batch_size, num_items)`, log-probabilities; `head`, `words`, `all_words` and
            `cosine (batch_size, num_preferences, num_items)`; `strengths` (reduced for texts unrelated to the
            catalog), `known (batch_size, num_preferences)`; `avoided (num_preferences,)`;
            `features (batch_size, num_features)`; `states (batch_size, 1 + history_length, d_model)`,
            `visible (batch_size, 1 + history_length)`; `embeddings (batch_size, num_preferences, embedding_size)`.
        """
        history, attention_mask = self._check_history(history, attention_mask)
        batch_size = len(history)
        preference_embeddings = self.embed_preferences(
            batch_size, preference_input_ids, preference_attention_mask, preference_embeddings
        )
        shape = preference_embeddings.shape[:2]
        if preference_strengths is None:
            preference_strengths = preference_embeddings.new_ones(shape)
        if preference_known is None:
            preference_known = preference_embeddings.new_ones(shape)
        if preference_words is None:
            preference_words = history.new_zeros(*shape, 0)
        elif not torch.compiler.is_exporting():
            check_words(preference_words, self.config.num_words, self.config.num_items)
        vectors = self.item_vectors()
        states = self.head(history, attention_mask, vectors)
        visible = torch.cat([attention_mask.new_ones(batch_size, 1), attention_mask], dim=1)
        state = last_visible(states, visible)
        added = self.head.preference_states(state, preference_embeddings)
        texts = self._text_components(
            preference_embeddings, preference_strengths.float(), preference_words, preference_known.float()
        )
        words, strengths, known = texts["words"], texts["strengths"], texts["known"]
        nearest, bought = past_matches(preference_embeddings, words, self.item_embeddings, history, attention_mask)
        # scales and features are those of the trained items, so that added ones change nothing among them
        trained = self.num_trained_items
        num_matches = texts["all_words"][..., :trained].sum(-1)
        logits = (state @ vectors[1:].T).float()
        return texts | {
            "history": logits - logits[:, :trained].logsumexp(-1, keepdim=True),
            "graph": mix_uniform(self.graph.score_items(history, attention_mask).float(), trained),
            "head": (added @ vectors[1:].T).float(),
            "features": request_features(attention_mask.sum(1), strengths, nearest, bought, known, num_matches),
            "states": states,
            "visible": visible,
            "embeddings": preference_embeddings,
        }

    def _text_components(
        self, embeddings: torch.Tensor, strengths: torch.Tensor, words: torch.Tensor, known: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Components that depend on the texts alone; see [`components`] for arguments and values."""
        table = WordTable(self.word_starts, self.word_items, self.word_weights)
        shares = word_shares(words, table, self.config.num_items)
        cosine = (embeddings @ self.item_embeddings[1:].T).float()
        return {
            "words": shares,
            "all_words": (shares > ALL_WORDS).to(shares.dtype),
            "cosine": cosine,
            "strengths": strengths
            * relevance(cosine[..., : self.num_trained_items], known, self.unrelated_cosine.float()),
            "avoided": (strengths < 0).any(0),
            "known": known,
        }

    def _check_history(
        self, history: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The checked history, and its mask as bool."""
        attention_mask = (history > 0) if attention_mask is None else attention_mask.bool()
        if torch.compiler.is_exporting():  # no numbers to check
            return history, attention_mask
        longest = int(attention_mask.sum(1).max()) if history.numel() else 0
        check_history(history, longest, self.config.max_history_length, self.config.num_items)
        return history, attention_mask

    def weigh(self, components: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Terms of the scores by name, `(batch_size, num_items)` each.

        The term `preference 2` is 0 for requests with fewer preferences.
        """
        strengths = components["strengths"]
        largest = strengths.clamp(min=0).amax(1) if strengths.shape[1] else strengths.new_zeros(len(strengths))
        weights = self.request_weights(components["features"], largest)
        terms = {
            "history": weights[:, 0:1] * components["history"],
            "graph": weights[:, 1:2] * components["graph"],
        }
        # added to the largest gain from preferences, so that no preference outweighs an avoided text
        penalty = self.config.avoid_weight + largest * weights[:, TEXT_COMPONENTS].sum(1)
        shares = wanted_shares(strengths)
        numbers = {"preference": 0, "avoid": 0}
        for column in range(strengths.shape[1]):
            kind = "avoid" if bool(components["avoided"][column]) else "preference"
            numbers[kind] += 1
            if kind == "avoid":
                match = avoided_match(components, column, self.num_trained_items)
                term = penalty.unsqueeze(1) * match
                terms[f"avoid {numbers[kind]}"] = strengths[:, column, None].clamp(max=0) * term
                continue
            gains = (
                weights[:, number, None] * components[name][:, column]
                for number, name in enumerate(COMPONENTS)
                if number >= REQUEST_COMPONENTS
            )
            terms[f"preference {numbers[kind]}"] = shares[:, column, None] * functools.reduce(torch.add, gains)
        return terms

    def encode(self, attention_mask: torch.Tensor | None = None, **inputs: torch.Tensor) -> SteerEncoderOutput:
        """Scores all items and builds the states that the decoder attends to; see [`components`] for the arguments."""
        components = self.components(attention_mask=attention_mask, **inputs)
        terms = self.weigh(components)
        terms["history"] = self.without_removed(terms["history"])
        shares = wanted_shares(components["strengths"])
        head = components["history"] + (shares.unsqueeze(-1) * components["head"]).sum(1)
        states, visible = components["states"], components["visible"]
        if self.config.use_decoder:
            embeddings = components["embeddings"]
            states = torch.cat([states, self.decoder_preference(embeddings).to(states.dtype)], dim=1)
            visible = torch.cat([visible, shares > 0], dim=1)
        return SteerEncoderOutput(
            last_hidden_state=cast(torch.FloatTensor, states),
            item_scores=functools.reduce(torch.add, terms.values()).log_softmax(-1),
            head_scores=self.without_removed(head).log_softmax(-1),
            terms=terms,
            decoder_mask=visible,
            has_decoder=self.has_decoder,
        )

    @property
    def has_decoder(self) -> bool:
        """Whether the decoder changes the item scores."""
        return self.config.use_decoder and bool(self.decoder_gates.any())
