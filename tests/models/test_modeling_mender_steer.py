"""Mender_Steer: what preferences, strengths and avoided texts do to scores, that scores are the sum of their terms,
and that the decoder adds exactly what the loss says."""

import copy
import itertools

import pytest
import torch
from tiny_models import ITEMS, TITLES, build, catalogue, random_codes
from torch.nn import functional
from transformers import AutoModel

from modeling_mender import MenderSteer, MenderSteerConfig, SemanticIds, TransitionGraph
from modeling_mender.data.requests import Example, Request
from modeling_mender.folded_decoding import fold_children
from modeling_mender.methods.steer import SteerCollator
from modeling_mender.request_weights import COMPONENTS
from modeling_mender.semantic_ids import codes_to_tokens
from modeling_mender.t5_stacks import decoder_logits

RED_SOAP, BLUE_MUG = "search for red soap", "look for a blue mug"
HISTORY = [1, 5, 9]
KINDS = [("bert", False), ("t5", False), ("bert", True)]
FORTY = SemanticIds(random_codes(40, 3, 5, seed=3), codebook_size=5)


@pytest.fixture(params=KINDS, ids=["bert", "t5", "decoder"])
def steer(request, tmp_path):
    family, use_decoder = request.param
    return build("steer", family, tmp_path, use_decoder=use_decoder)


@pytest.fixture
def plain(tmp_path):
    return build("steer", "bert", tmp_path)


@pytest.fixture
def decoding(tmp_path):
    """With a decoder whose gates are open, over forty items that share prefixes."""
    return build("steer", "bert", tmp_path, FORTY, use_decoder=True)


def scores(model, inputs, **options):
    """Scores of all items in their order, `(batch_size, num_items)`."""
    num_items = model.config.num_items
    found = model.recommend(**inputs, k=num_items, **options)
    return torch.zeros_like(found.scores).scatter(1, found.items - 1, found.scores)


def all_terms(model, inputs, **options):
    """Terms of all items in their order, and the scores."""
    found = model.recommend(**inputs, k=model.config.num_items, return_terms=True, **options)
    order = found.items - 1
    ordered = {name: torch.zeros_like(term).scatter(1, order, term) for name, term in found.terms.items()}
    return ordered, torch.zeros_like(found.scores).scatter(1, order, found.scores)


def titled(*words):
    """Places of the items whose title has all the words."""
    return [place for place, title in enumerate(TITLES) if set(words) <= set(title.split())]


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_strength_0_is_no_preference_bit_for_bit(steer):
    model, processor = steer
    without = processor(history=[HISTORY])
    none = processor(history=[HISTORY], preference=[[RED_SOAP, "avoid blue mug"]], avoid=["green tea"], strength=0)
    assert none.keys() == without.keys()
    assert torch.equal(scores(model, none), scores(model, without))
    asked = dict(processor(history=[HISTORY], preference=[RED_SOAP], avoid=["blue mug"]))
    asked["preference_strengths"] = torch.zeros(1, 2)  # as where another request of the batch has texts
    assert torch.equal(scores(model, asked), scores(model, without))


def test_one_text_of_strength_0_beside_another_is_as_if_it_were_absent_bit_for_bit(steer):
    model, processor = steer
    alone = processor(history=[HISTORY], preference=[[BLUE_MUG]])
    both = processor(history=[HISTORY], preference=[[RED_SOAP, BLUE_MUG]], strength=[[0, 1]])
    assert torch.equal(scores(model, both), scores(model, alone))


def test_a_weak_preference_beside_a_strong_one_changes_little(plain):
    model, processor = plain
    texts = [["search for soap", "red", "green mug"]]
    without, weak = (
        scores(model, processor(history=[HISTORY], preference=texts, strength=[[1, rest, rest]]))[0]
        for rest in (0, 1e-5)
    )
    torch.testing.assert_close(weak, without, atol=1e-3, rtol=0)


def test_a_request_scores_alike_beside_one_of_a_longer_history(plain):
    model, processor = plain
    text = "a journal to write in"
    alone = scores(model, processor(history=[[1, 2]], preference=[text]))[0]
    beside = scores(model, processor(history=[[1, 2], HISTORY * 3], preference=[text, "red"]))[0]
    torch.testing.assert_close(beside, alone, atol=1e-5, rtol=1e-5)


def test_preferences_given_one_by_one_find_what_they_find_in_one_sentence(plain):
    model, processor = plain
    (place,) = titled("red", "soap")
    for preference in (["red soap"], [["red", "soap"]], [["soap", "red"]]):
        assert scores(model, processor(history=[[]], preference=preference))[0].argmax() == place


def test_a_text_that_is_as_far_from_every_item_as_unrelated_sentences_counts_for_nothing(plain):
    model, processor = copy.deepcopy(plain[0]), plain[1]
    without = scores(model, processor(history=[HISTORY]))
    unrelated, near = "xyzzy plugh", "search for red soap"
    asked = processor(history=[HISTORY], preference=[unrelated], avoid=["foo bar"])
    assert not torch.allclose(scores(model, asked), without, atol=1e-3)
    cosine = model.components(**asked)["cosine"].amax(-1)
    model.unrelated_cosine.copy_(torch.tensor([cosine.max() + 0.01, 0.05]))
    torch.testing.assert_close(scores(model, asked), without)
    assert not torch.allclose(scores(model, processor(history=[HISTORY], preference=[near])), without, atol=1e-3)
    model.unrelated_cosine.copy_(torch.tensor([cosine.min() - 0.2, 0.05]))  # near enough
    assert model.components(**asked)["strengths"].tolist() == [[1, -1]]


def test_the_usual_cosine_of_unrelated_sentences_is_measured(plain):
    model = copy.deepcopy(plain[0])
    embeddings = torch.nn.functional.normalize(torch.randn(6, model.config.embedding_size), dim=-1)
    model.set_unrelated(embeddings)
    best = (embeddings @ model.item_embeddings[1:].T).amax(1)
    torch.testing.assert_close(model.unrelated_cosine, torch.stack([best.mean(), best.std()]))


def test_a_negative_strength_avoids(steer):
    model, processor = steer
    negative, avoided = (
        all_terms(model, processor(history=[HISTORY], **fields))
        for fields in ({"preference": ["red soap"], "strength": [-0.5]}, {"avoid": ["red soap"], "strength": [0.5]})
    )
    assert torch.equal(negative[1], avoided[1])
    assert set(negative[0]) == set(avoided[0]) and "avoid 1" in avoided[0]
    back = processor(history=[HISTORY], preference=["avoid red soap"], strength=[-1])
    assert torch.equal(scores(model, back), scores(model, processor(history=[HISTORY], preference=["red soap"])))


def test_the_order_of_preferences_and_of_what_is_avoided_does_not_matter(steer):
    model, processor = steer
    wanted = [(RED_SOAP, 1.0), (BLUE_MUG, 0.25), ("lime tea", 2.0)]
    found = []
    for order in itertools.permutations(wanted):
        texts, strengths = zip(*order, strict=True)
        avoid = ["green", "lamp"] if order[0] == wanted[0] else ["lamp", "green"]
        inputs = processor(history=[HISTORY], preference=[list(texts)], avoid=[avoid], strength=[list(strengths)])
        found.append(scores(model, inputs))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], scores(model, processor(history=[HISTORY])), atol=0.1)


def test_what_is_wanted_and_avoided_alike_cancels_out_and_otherwise_the_difference_counts(steer):
    model, processor = steer
    _, nothing = all_terms(model, processor(history=[HISTORY]))
    _, alike = all_terms(model, processor(history=[HISTORY], preference=["red soap"], avoid=["Red soap"]))
    torch.testing.assert_close(alike, nothing)
    both = processor(history=[HISTORY], preference=["red soap"], avoid=["red soap"], strength=[[1, 3]])
    _, more = all_terms(model, both)
    _, avoided = all_terms(model, processor(history=[HISTORY], avoid=["red soap"], strength=2))
    torch.testing.assert_close(more, avoided)
    assert avoided[0].argmin() == titled("red", "soap")[0]


@pytest.mark.parametrize("history", [[], [3], HISTORY], ids=len)
@pytest.mark.parametrize(
    ("text", "words"), [("search for soap", ["soap"]), ("red", ["red"]), ("find a green mug", ["green", "mug"])]
)
def test_a_larger_strength_never_lowers_the_share_of_what_obeys(plain, history, text, words):
    model, processor = plain
    obeying = titled(*words)
    shares, first = [], []
    for strength in (0, 0.1, 0.3, 0.6, 1, 1.5, 3, 10):
        found = scores(model, processor(history=[history], preference=[text], strength=strength))[0]
        shares.append(found.softmax(0)[obeying].sum().item())
        first.append(len(set(found.topk(4).indices.tolist()) & set(obeying)))
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(shares))
    assert first == sorted(first) and first[-1] == min(4, len(obeying))


@pytest.mark.parametrize("text", ["soap", "red", "green mug", "lavender"])
def test_a_larger_strength_never_raises_the_share_of_what_is_avoided(steer, text):
    model, processor = steer
    avoided = titled(*text.split()) or range(12)  # a word that the catalog lacks avoids by likeness alone
    shares = []
    for strength in (0, 0.1, 0.3, 0.6, 1, 1.5, 3, 10):
        terms, found = all_terms(model, processor(history=[HISTORY], avoid=[text], strength=strength))
        if not model.has_decoder:
            shares.append(found[0].softmax(0)[list(avoided)].sum().item())
        assert all((term <= 0).all() for name, term in terms.items() if name.startswith("avoid"))
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(shares))
    if text != "lavender":
        assert set(found[0].topk(len(avoided), largest=False).indices.tolist()) == set(avoided)


def test_what_is_avoided_leaves_the_order_of_all_others(plain):
    model, processor = plain
    before, after = (scores(model, processor(history=[HISTORY], **more))[0] for more in ({}, {"avoid": ["soap"]}))
    others = [place for place in range(12) if place not in titled("soap")]
    assert before[others].argsort().tolist() == after[others].argsort().tolist()


def test_an_avoided_text_that_matches_everything_changes_no_order(plain):
    model, processor = plain
    before, after = (scores(model, processor(history=[HISTORY], **more))[0] for more in ({}, {"avoid": ["title"]}))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)  # every text has the word


def test_an_empty_request_gives_what_is_popular(plain):
    model, processor = plain
    found = model.recommend(**processor(history=[[]]), k=12)
    assert torch.isfinite(found.scores).all()
    terms = model.recommend(**processor(history=[[]]), k=12, return_terms=True).terms
    assert set(terms) == {"history", "graph", "normalization"}
    for empty in ({"preference": [""]}, {"preference": [[" ", ""]], "avoid": [""]}, {"avoid": [[]]}):
        again = model.recommend(**processor(history=[[]], **empty), k=12)
        assert torch.equal(again.scores, found.scores)


def test_requests_with_and_without_texts_of_either_kind_share_a_batch(steer):
    model, processor = steer
    requests = {
        "history": [HISTORY, [], [2], [7, 8]],
        "preference": [None, [RED_SOAP, BLUE_MUG], "tea but not green tea", None],
        "avoid": ["lamp", None, ["red", "mug"], None],
        "strength": [2, [1, 0.5], None, None],
    }
    together = scores(model, processor(**requests))
    for row in range(4):
        alone = processor(**{name: values[row : row + 1] for name, values in requests.items()})
        torch.testing.assert_close(scores(model, alone)[0], together[row], atol=1e-5, rtol=0)


# -- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"weights": True}, {"exclude": [3, 4]}, {"weights": True, "candidates": True}])
def test_terms_sum_to_the_score(steer, given):
    model, processor = steer
    inputs = processor(
        history=[HISTORY, [2]], preference=[[RED_SOAP, "tea, no lamps"], None], avoid=["green", None], strength=0.7
    )
    options = {}
    if "weights" in given:
        options["item_log_weights"] = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
        options["item_log_weights"][0, 5] = -torch.inf
    if "exclude" in given:
        options["exclude"] = given["exclude"]
    if "candidates" in given:
        options["candidates"] = [[1, 2, 7, 8, 9], [4, 5, 6, 11, 12]]
    found = model.recommend(**inputs, k=4, return_terms=True, **options)
    names = {"history", "graph", "preference 1", "preference 2", "avoid 1", "avoid 2", "normalization"}
    names |= {"given"} if options else set()
    names |= {"decoder"} if model.has_decoder else set()
    assert set(found.terms) == names
    assert all(term.shape == (2, 4) for term in found.terms.values())
    total = torch.stack(list(found.terms.values())).sum(0)
    torch.testing.assert_close(total, found.scores, atol=1e-5, rtol=0)
    constant = found.terms["normalization"]
    assert torch.equal(constant, constant[:, :1].expand_as(constant))
    without = model.recommend(**inputs, k=4, **options)
    assert without.terms is None and torch.equal(without.scores, found.scores)


def test_terms_are_those_of_the_parts_computed_by_hand(plain):
    model, processor = plain
    text = "search for red soap"
    inputs = processor(history=[HISTORY], preference=[text], strength=0.5)
    terms, _ = all_terms(model, inputs)
    with torch.no_grad():
        found = model.components(**inputs)
        weights = dict(zip(COMPONENTS, model.request_weights(found["features"], torch.tensor([0.5]))[0], strict=True))
        embedding = model.embed_text(inputs["preference_input_ids"][0], inputs["preference_attention_mask"][0])
        vectors = model.head.item_vectors(model.item_embeddings)
        states = model.head(torch.tensor([HISTORY]), torch.ones(1, 3, dtype=torch.bool), vectors)[0, -1]
        added = model.head.preference_states(states, embedding)[0]
    idf = dict(zip(processor.words.vocabulary, processor.words.idf, strict=True))
    total = idf["red"] + idf["soap"]
    words = torch.tensor([sum(idf[word] for word in ("red", "soap") if word in title) / total for title in TITLES])
    expected = (
        weights["head"] * (vectors[1:] @ added)
        + weights["words"] * words
        + weights["all_words"] * (words > 0.99)
        + weights["cosine"] * (model.item_embeddings[1:] @ embedding[0])
    )
    torch.testing.assert_close(terms["preference 1"][0], 0.5 * expected, atol=1e-5, rtol=0)
    history = (vectors[1:] @ states).log_softmax(0)
    torch.testing.assert_close(terms["history"][0], weights["history"] * history, atol=1e-5, rtol=0)
    graph = model.graph.score_items(torch.tensor([HISTORY]), torch.ones(1, 3, dtype=torch.bool))[0]
    assert terms["graph"][0].argsort().tolist() == graph.argsort().tolist()


# -- the decoder ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def decoder_terms(model, encoded):
    """What the decoder adds to each item, by teacher forcing and loops over prefixes: `(batch_size, num_items)`."""
    codes = model.item_semantic_ids
    tokens = codes_to_tokens(codes, model.config.codebook_size)
    decoder_input_ids = functional.pad(tokens[:, :-1], (1, 0))
    terms = torch.zeros(len(encoded.head_scores), len(codes))
    for row, head in enumerate(encoded.head_scores):
        output = model.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=encoded.last_hidden_state[row].expand(len(codes), -1, -1),
            encoder_attention_mask=encoded.decoder_mask[row].expand(len(codes), -1),
        )
        logits = decoder_logits(model.decoder, output.last_hidden_state)
        for item in range(len(codes)):
            for level in range(codes.shape[1]):
                siblings = (codes[:, :level] == codes[item, :level]).all(1)
                gate = model.decoder_gates[level]
                products = []
                for code in codes[siblings, level].unique():
                    below = siblings & (codes[:, level] == code)
                    share = head[below].logsumexp(0) - head[siblings].logsumexp(0)
                    token = 1 + level * model.config.codebook_size + code
                    products.append(share + gate * logits[item, level, token])
                terms[row, item] += gate * logits[item, level, tokens[item, level]]
                terms[row, item] -= torch.stack(products).logsumexp(0)
    return terms


def asked(processor):
    texts = {"preference": [["item 3", "item 17"], "item 9"], "avoid": [None, "item 4"]}
    return processor(history=[HISTORY, []], **texts, strength=[0.5, None])


def test_scores_are_those_of_all_items_computed_naively(decoding):
    model, processor = decoding
    with torch.no_grad():
        model.decoder_gates.copy_(torch.tensor([0.7, -0.4, 1.3]))
    inputs = asked(processor)
    encoded = model.encode(**inputs)
    expected = encoded.item_scores + decoder_terms(model, encoded)
    torch.testing.assert_close(scores(model, inputs, num_beams=40), expected, atol=1e-4, rtol=0)
    weights = torch.randn(2, 40, generator=torch.Generator().manual_seed(0)) * 3
    weighed = scores(model, inputs, num_beams=40, item_log_weights=weights)
    torch.testing.assert_close(weighed, expected + weights, atol=1e-4, rtol=0)
    with torch.no_grad():
        model.decoder_gates.zero_()
    torch.testing.assert_close(scores(model, inputs), encoded.item_scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoded.item_scores.exp().sum(1), torch.ones(2))


def test_few_candidates_are_ranked_exactly_where_few_beams_are_not(decoding):
    model, processor = decoding
    model.generation_config.num_beams = 1
    with torch.no_grad():
        model.decoder_gates.copy_(torch.tensor([4.0, -8.0, 8.0]))  # later codes say more than first ones
    inputs = asked(processor)
    encoded = model.encode(**inputs)
    expected = encoded.item_scores + decoder_terms(model, encoded)
    candidates = torch.arange(2, 40, 2)
    best = expected[:, candidates - 1].topk(3)
    found = model.recommend(**inputs, k=3, candidates=candidates.tolist())
    assert found.items.tolist() == candidates[best.indices].tolist()
    torch.testing.assert_close(found.scores, best.values, atol=1e-3, rtol=0)
    few = model.recommend(**inputs, k=3, num_beams=3, candidates=candidates.tolist())
    assert few.items.tolist() != found.items.tolist()


@pytest.mark.parametrize("num_beams", [2, 7, 40])
@pytest.mark.parametrize("weighed", [False, True], ids=["plain", "weighed"])
@pytest.mark.parametrize("use_decoder", [False, True], ids=["items", "decoder"])
def test_own_search_is_the_generic_loop_beam_by_beam(tmp_path, num_beams, weighed, use_decoder):
    model, processor = build("steer", "t5", tmp_path, FORTY, use_decoder=use_decoder)
    inputs = asked(processor)
    settings = {"num_beams": num_beams, "num_return_sequences": num_beams, "return_dict_in_generate": True}
    if weighed:
        settings["item_log_weights"] = torch.randn(2, 40, generator=torch.Generator().manual_seed(1)) * 2
    own = model.generate(**inputs, **settings)
    generic = model.generate(**inputs, **settings, output_scores=True)
    assert own.sequences.tolist() == generic.sequences.tolist()
    torch.testing.assert_close(own.sequences_scores, generic.sequences_scores, atol=1e-4, rtol=0)
    if num_beams == 40:
        weights = settings.get("item_log_weights")
        found = model.recommend(**inputs, k=40, num_beams=40, item_log_weights=weights)
        torch.testing.assert_close(own.sequences_scores.view(2, 40), found.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gates", [(0.0, 0.0, 0.0), (0.7, -0.4, 1.3)], ids=["shut", "open"])
def test_the_code_loss_is_that_of_the_items_and_of_what_the_decoder_makes_of_them(decoding, gates):
    model, processor = decoding
    with torch.no_grad():
        model.decoder_gates.copy_(torch.tensor(gates))
    inputs = asked(processor)
    with torch.no_grad():
        encoded = model.encode(**inputs)
        log_probs = encoded.head_scores + decoder_terms(model, encoded)
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(2), atol=1e-4, rtol=0)
        for item in range(1, 41):  # every item, those of the trie's last nodes among them
            labels = torch.tensor([item, 41 - item])
            expected = functional.nll_loss(log_probs, labels - 1)
            torch.testing.assert_close(model(**inputs, labels=labels).loss, expected, atol=1e-4, rtol=0)
    if not any(gates):
        by_codes = model(**inputs, labels=labels).loss
        model.config.use_decoder = False  # the cross-entropy of the items
        torch.testing.assert_close(by_codes, model(**inputs, labels=labels).loss, atol=1e-5, rtol=0)


def test_folding_the_children_of_some_nodes_is_the_fold_of_the_trie(decoding):
    model, _ = decoding
    trie = model.trie
    log_probs = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).mul(5).log_softmax(-1)
    folded = trie.fold(log_probs)
    in_leaf_order = log_probs[:, trie.leaf_items - 1]
    for level, trie_level in enumerate(trie.levels):
        num_parents = len(trie.levels[level - 1].codes) if level else 1
        for first in range(num_parents):
            nodes = (first + torch.arange(6)) % num_parents  # another parent for each row
            children, valid = (found.squeeze(1) for found in trie.children(level, nodes.unsqueeze(1)))
            found = fold_children(in_leaf_order, model.trie, level, children, valid)
            expected = folded[level].gather(1, children)
            torch.testing.assert_close(found[valid], expected[valid], atol=1e-4, rtol=0)
        assert len(trie_level.codes) == folded[level].shape[1]


def test_in_training_mode_it_recommends_the_same_and_stays_in_it(decoding):
    model, processor = decoding
    inputs = asked(processor)
    expected = model.recommend(**inputs, k=5)
    model.train()
    found = model.recommend(**inputs, k=5)
    assert model.training and model.decoder.training and model.head.training
    assert torch.equal(found.items, expected.items) and torch.equal(found.scores, expected.scores)


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_decoder", [False, True], ids=["items", "decoder"])
def test_examples_of_one_sequence_cost_what_they_cost_alone(tmp_path, use_decoder):
    model, processor = build("steer", "bert", tmp_path, use_decoder=use_decoder)
    texts = [RED_SOAP, BLUE_MUG, "tea"]
    tokens = processor(history=[[]] * 3, preference=texts)
    embeddings = model.embed_text(
        tokens["preference_input_ids"].squeeze(1), tokens["preference_attention_mask"].squeeze(1)
    ).unsqueeze(1)
    together = model(
        history=torch.tensor([[1, 5, 9], [2, 0, 0]]),
        attention_mask=torch.tensor([[1, 1, 1], [1, 0, 0]]),
        example_rows=torch.tensor([0, 0, 1]),
        example_lengths=torch.tensor([1, 3, 0]),
        preference_embeddings=embeddings,
        preference_strengths=torch.ones(3, 1),
        labels=torch.tensor([5, 3, 2]),
    ).loss
    histories = ([1], [1, 5, 9], [])
    losses = [
        model(**processor(history=[history], preference=[text]), labels=torch.tensor([label])).loss
        for history, text, label in zip(histories, texts, (5, 3, 2), strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(losses).mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("use_decoder", [False, True], ids=["items", "decoder"])
def test_positions_of_a_sequence_that_is_longer_than_the_window_see_what_they_see_alone(tmp_path, use_decoder):
    model, processor = build("steer", "bert", tmp_path, use_decoder=use_decoder)
    sequence = [1 + place * 5 % 12 for place in range(26)]
    texts = [f"search for {title}" for title in TITLES]
    examples = [
        Example(Request(tuple(sequence[:length]), (texts[length % 12],)), sequence[length]) for length in range(1, 26)
    ]
    collator = SteerCollator(processor, model, texts)
    groups = collator.group(examples)
    assert sorted(number for group in groups for number in group) == list(range(25))
    for group in groups:
        together = model(**collator.training_batch([[examples[number] for number in group]])).loss
        alone = [
            model(
                **processor(history=[list(example.request.history)], preference=[example.request.preferences[0]]),
                labels=torch.tensor([example.target]),
            ).loss
            for example in (examples[number] for number in group)
        ]
        torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("use_decoder", [False, True], ids=["items", "decoder"])
def test_every_trained_weight_has_a_gradient_without_a_preference_too(tmp_path, use_decoder):
    """Several processes wait for each other's gradients, and a batch may hold no preference."""
    model, processor = build("steer", "bert", tmp_path, use_decoder=use_decoder)
    model.train()
    model(**processor(history=[HISTORY, [2]]), labels=torch.tensor([3, 4])).loss.backward()
    missing = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert missing == []


def test_what_is_avoided_is_not_learned(steer):
    model, processor = steer
    labels = torch.tensor([3])
    without, avoiding = (
        model(**processor(history=[HISTORY], preference=[BLUE_MUG], **more), labels=labels).loss
        for more in ({}, {"avoid": ["red soap"]})
    )
    torch.testing.assert_close(avoiding, without)


def test_vectors_of_items_are_computed_anew_after_a_step(plain):
    model, processor = plain
    inputs = processor(history=[HISTORY])
    before = scores(model, inputs)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.05)
    model(**inputs, labels=torch.tensor([3])).loss.backward()
    optimizer.step()
    after = scores(model, inputs)
    assert after[0, 2] > before[0, 2]
    model._vectors = None
    assert torch.equal(scores(model, inputs), after)


# -- bad input --------------------------------------------------------------------------------------------------------


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"k": 13}, r"k \(13\) must be in 1..12"),
            ({"k": 0}, r"k \(0\)"),
            ({"k": 5, "num_beams": 13}, r"num_beams \(13\) must be in 5..12"),
            ({"k": 5, "num_beams": 4}, r"num_beams \(4\)"),
            ({"k": 1, "exclude": list(range(1, 13))}, "request 0 allows 0 items and 1 result"),
            ({"k": 3, "candidates": [1, 2]}, "request 0 allows 2 items and 3 results"),
            ({"k": 1, "item_log_weights": torch.full((1, 12), float("nan"))}, "is nan for item 1"),
            ({"k": 1, "item_log_weights": torch.zeros(1, 11)}, r"\(1, 12\)"),
            ({"k": 1, "strengths": 2}, "recommend does not take strengths"),
        ],
    )
    def test_recommend_names_value_limit_and_way_out(self, steer, arguments, words):
        model, processor = steer
        with pytest.raises(ValueError, match=words):
            model.recommend(**processor(history=[HISTORY], preference=[RED_SOAP]), **arguments)

    def test_what_no_processor_looked_at_is_refused(self, plain):
        model, _ = plain
        with pytest.raises(ValueError, match="item 13, and the model has 12"):
            model.recommend(history=torch.tensor([[13]]), k=3)
        with pytest.raises(ValueError, match="history has 21 items, the model takes 20"):
            model.recommend(history=torch.ones(1, 21, dtype=torch.long), k=3)
        with pytest.raises(ValueError, match="nothing to score"):
            model.recommend(k=3)

    def test_forward_without_labels_says_what_to_call(self, plain):
        model, processor = plain
        with pytest.raises(ValueError, match="generate or recommend"):
            model(**processor(history=[HISTORY]))

    def test_parts_of_another_catalogue_are_refused(self, plain):
        model, _ = plain
        with pytest.raises(ValueError, match="the graph has 3 items, and the catalog 12"):
            model.set_graph(TransitionGraph.from_sequences([(1, 2)], 3))
        with pytest.raises(ValueError, match=r"\(12, 16\)"):
            model.set_item_embeddings(torch.zeros(12, 17))
        with pytest.raises(ValueError, match=r"num_items of the item table \(40\)"):
            model.set_item_semantic_ids(FORTY)

    @pytest.mark.parametrize(
        ("sizes", "words"),
        [
            ({"num_history_layers": 0}, r"num_history_layers \(0\) must be at least 1"),
            ({"num_history_heads": 3}, r"num_history_heads \(3\) must divide d_model \(128\)"),
            ({"avoid_weight": -1.0}, r"avoid_weight \(-1.0\) must not be negative"),
            ({"num_words": -1}, r"num_words \(-1\)"),
            ({"num_items": 0}, r"num_items \(0\)"),
        ],
    )
    def test_a_configuration_refuses_nonsense(self, sizes, words):
        with pytest.raises(ValueError, match=words):
            MenderSteerConfig(**sizes)


def test_a_graph_that_was_set_is_saved_with_its_sizes(plain, tmp_path):
    model, processor = plain
    model.set_graph(TransitionGraph.from_sequences([(1, 2), (5, 6, 7)], 12))
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModel.from_pretrained(tmp_path / "saved")
    assert isinstance(loaded, MenderSteer)
    inputs = processor(history=[HISTORY], preference=[RED_SOAP])
    found, expected = (one.recommend(**inputs, k=12, return_terms=True).terms["graph"] for one in (loaded, model))
    assert torch.equal(found, expected)


def test_the_toy_catalogue_is_what_these_tests_take_it_for():
    assert [TITLES[place] for place in titled("soap")] == ["red soap", "green soap", "blue soap"]
    assert len(ITEMS) == catalogue().num_items == 12
