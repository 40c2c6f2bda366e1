"""Items are added to a trained model and removed from it, and the other items do not notice."""

import copy

import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoProcessor

from dataset_builders.benchmark.schema import item_text
from modeling_mender.catalog_recipe import CatalogRecipe
from modeling_mender.catalog_update import assign_codes, check_new_items
from modeling_mender.item_texts import labeled_text
from modeling_mender.item_words import ItemWords
from modeling_mender.pipeline_preference_recommendation import PreferenceRecommendationPipeline
from modeling_mender.trie import Trie

NEW = [
    {"title": "green rose", "brand": "rose", "categories": ["tea"], "text": "Title: green rose"},
    {"title": "red soap", "text": "Title: red soap"},
    {"title": "blue lime mug", "text": "Title: blue lime mug"},
]
CODES = torch.tensor([[0, 0], [0, 0], [3, 3]])
REQUEST = {"history": [[1, 5], [3]], "preference": ["search for red soap", "look for tea"]}
METHODS = {
    "steer": lambda folder: tiny_models.build("steer", "bert", folder),
    "steer with a decoder": lambda folder: tiny_models.build("steer", "bert", folder, use_decoder=True),
    "emb": lambda folder: tiny_models.build("emb", "bert", folder),
    "tok": lambda folder: tiny_models.build("tok", "bert", folder),
    "tiger": lambda folder: tiny_models.tiny_tiger("tiger", "bert", folder),
    "liger": lambda folder: tiny_models.tiny_tiger("liger", "bert", folder),
}


@pytest.fixture(params=METHODS)
def method(request, tmp_path):
    model, processor = METHODS[request.param](tmp_path)
    return model, processor


@pytest.fixture
def steer(tmp_path):
    return METHODS["steer"](tmp_path)


def request_of(model, processor, **changes):
    request = {**REQUEST, **changes}
    if model.config.model_type == "tiger":
        request.pop("preference")
    return processor(**request, return_tensors="pt")


def ranking(model, processor, k, **changes):
    return model.recommend(**request_of(model, processor, **changes), k=k, num_beams=k)


def item_scores(model, processor, **changes):
    """Score of each item, `(batch_size, num_items)`; -inf for one that is not found."""
    found = ranking(model, processor, model.num_active_items, **changes)
    scores = torch.full((len(found.items), model.config.num_items), -torch.inf)
    return scores.scatter(1, found.items - 1, found.scores)


def normalizes_by_prefix(model):
    """Whether an added item takes its share from its neighbors in the trie, and not from all items alike."""
    return bool(getattr(model.config, "use_decoder", False))


def assert_same_among(after, before, columns):
    """Scores of some items differ by a constant per request: their order and shares among themselves are the same."""
    change = after[:, list(columns)] - before[:, list(columns)]
    torch.testing.assert_close(change, change[:, :1].expand_as(change), atol=2e-5, rtol=0)


class TestAdded:
    def test_every_new_item_is_reached_and_the_others_keep_their_order(self, method):
        model, processor = method
        before = item_scores(model, processor)
        ids = model.add_items(NEW, processor, codes=CODES)
        assert ids == [13, 14, 15]
        after = item_scores(model, processor)
        assert torch.isfinite(after).all()  # every item is among the beams, one for each
        if not normalizes_by_prefix(model):
            assert_same_among(after, before, range(12))
        assert processor.titles(ids) == ["green rose", "red soap", "blue lime mug"]

    def test_a_new_item_is_the_only_candidate_and_a_history(self, method):
        model, processor = method
        ids = model.add_items(NEW, processor, codes=CODES)
        for item in ids:
            found = model.recommend(**request_of(model, processor, history=[[item], [1]]), k=1, candidates=[item])
            assert found.items.tolist() == [[item], [item]]

    def test_the_changed_trie_is_one_built_rebuilt(self, method):
        model, processor = method
        kept = model.trie  # built before
        model.remove_items([2, 7], processor)
        model.add_items(NEW, processor, codes=CODES)
        codes = model.item_semantic_ids.clone()
        codes[[1, 6]] = -1
        rebuilt = Trie(codes)
        assert model.trie is not kept
        assert model.trie.leaf_items.tolist() == rebuilt.leaf_items.tolist()
        for level, other in zip(model.trie.levels, rebuilt.levels, strict=True):
            assert level.codes.tolist() == other.codes.tolist()

    def test_a_saved_folder_answers_as_the_model_that_was_saved(self, method, tmp_path):
        model, processor = method
        model.add_items(NEW, processor, codes=CODES)
        model.remove_items([3, 13], processor)
        model.save_pretrained(tmp_path / "changed")
        processor.save_pretrained(tmp_path / "changed")
        loaded = AutoModel.from_pretrained(tmp_path / "changed"), AutoProcessor.from_pretrained(tmp_path / "changed")
        before, after = ranking(model, processor, 5), ranking(*loaded, 5)
        assert before.items.tolist() == after.items.tolist()
        assert torch.equal(before.scores, after.scores)
        assert loaded[1].removed_items == [3, 13] and loaded[0].num_trained_items == 12
        loaded[0].add_items(NEW[:1], loaded[1], codes=CODES[:1])  # and can be changed again
        assert loaded[0].config.num_items == 16 and loaded[0].num_trained_items == 12

    def test_what_says_the_same_as_another_item_is_counted_in_a_warning(self, method, caplog):
        model, processor = method
        codes = torch.tensor([[0, 1], [1, 0], [2, 0], [2, 1]])
        same_title = {"title": "red soap", "text": "Title: red soap with lime"}
        model.add_items([NEW[0], NEW[2], same_title], processor, codes=codes[:3])
        assert not caplog.messages
        model.remove_items([14], processor)
        model.add_items([*NEW, NEW[2]], processor, codes=codes)  # the second one was trained, the third removed
        (warning,) = caplog.messages
        assert warning.startswith(
            "title and text of 3 of 4 new items are those of another item: 16 as 13 ('green rose'), "
            f"17 as {1 + tiny_models.TITLES.index('red soap')} ('red soap'), 19 as 18 ('blue lime mug'); "
        )

    def test_a_second_addition_keeps_the_items_of_the_first(self, steer):
        model, processor = steer
        model.add_items(NEW[:1], processor, codes=CODES[:1])
        before = item_scores(model, processor)
        model.add_items(NEW[1:], processor, codes=CODES[1:])
        assert_same_among(item_scores(model, processor), before, range(12))

    def test_an_item_added_at_once_or_one_by_one_scores_the_same_among_the_trained(self, tmp_path):
        at_once, one_by_one = (tiny_models.build("steer", "bert", tmp_path) for _ in range(2))
        at_once[0].add_items(NEW, at_once[1], codes=CODES)
        for item, codes in zip(NEW, CODES, strict=True):
            one_by_one[0].add_items([item], one_by_one[1], codes=codes.unsqueeze(0))
        assert at_once[0].item_semantic_ids.tolist() == one_by_one[0].item_semantic_ids.tolist()
        first, second = (item_scores(*pair)[:, :12] for pair in (at_once, one_by_one))
        torch.testing.assert_close(first.log_softmax(1), second.log_softmax(1), atol=2e-5, rtol=0)

    def test_words_of_an_added_item_find_it(self, steer):
        model, processor = steer
        (item,) = model.add_items([{"title": "purple zither", "text": "purple zither"}], processor, codes=CODES[:1])
        found = model.recommend(**processor(preference="search for a zither"), k=1)
        assert found.items.tolist() == [[item]]

    def test_embeddings_may_be_given(self, steer):
        model, processor = steer
        vectors = torch.randn(3, 16)
        model.add_items(NEW, processor, embeddings=vectors, codes=CODES)
        torch.testing.assert_close(model.item_embeddings[13:], torch.nn.functional.normalize(vectors, dim=1))

    def test_codes_come_from_the_recipe_where_the_encoder_is_its_own(self, steer):
        model, processor = steer
        books = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(1))
        processor.recipe = CatalogRecipe("residual_kmeans", {"codebooks": books}, own_codes=1.0)
        with torch.no_grad():
            vectors = model.embed_texts(["green rose; brand: rose; categories: tea"], processor)
        model.add_items([{**NEW[0], "text": None}], processor)
        assert model.item_semantic_ids[12, :2].tolist() == processor.recipe.quantize(vectors)[0].tolist()


class TestRemoved:
    def test_a_removed_item_never_comes_back_and_the_others_keep_their_order(self, method):
        model, processor = method
        before = item_scores(model, processor)
        model.remove_items([1, 6], processor)
        after = item_scores(model, processor)
        kept = [item - 1 for item in processor.active_items]
        assert after[:, [0, 5]].isneginf().all() and len(kept) == 10
        if not normalizes_by_prefix(model):
            assert_same_among(after, before, kept)

    def test_a_removed_item_may_be_in_a_history_and_is_no_candidate(self, method):
        model, processor = method
        model.remove_items([1], processor)
        inputs = request_of(model, processor, history=[[1], [1, 2]])
        assert 1 not in model.recommend(**inputs, k=11, num_beams=11).items
        for candidates in ([1], [[1], [1, 2]]):
            with pytest.raises(
                ValueError,
                match="request 0 allows 0 items and 1 result is asked for; its candidates hold 1 item that was "
                r"removed from the catalog \(1\): leave it out",
            ):
                model.recommend(**inputs, k=1, candidates=candidates)
        with pytest.raises(ValueError, match="request 1 allows 1 item and 2 results are asked for; allow more"):
            model.recommend(**inputs, k=2, candidates=[[1, 2, 3], [4]])
        pipe = PreferenceRecommendationPipeline(model=model, processor=processor)
        with pytest.raises(
            ValueError, match=r"allows 1 item and 2 results are .* hold 1 item that was removed .* \(1\)"
        ):
            pipe({"history": [1], "candidates": [1, 2]}, k=2)
        with pytest.raises(ValueError, match=r"k \(12\) must be in 1\.\.11, the number of items; ask for at most 11"):
            pipe({"history": [1]}, k=12)
        with pytest.raises(ValueError, match=r"k \(12\) must be in 1\.\.11"):
            model.recommend(**inputs, k=12)

    def test_codes_of_a_removed_item_are_free(self, method):
        model, processor = method
        own = model.item_semantic_ids[4].tolist()
        model.remove_items([5], processor)
        model.add_items(NEW[:1], processor, codes=torch.tensor([own[:2]]))
        assert model.item_semantic_ids[12].tolist() == own

    def test_terms_still_sum_to_the_score(self, steer):
        model, processor = steer
        model.add_items(NEW, processor, codes=CODES)
        model.remove_items([2], processor)
        found = model.recommend(**processor(**REQUEST, avoid=["soap", None]), k=5, return_terms=True)
        torch.testing.assert_close(sum(found.terms.values()), found.scores, atol=1e-5, rtol=0)

    def test_beams_of_the_training_come_back_with_new_items(self, method):
        model, processor = method
        trained = model.generation_config.num_beams
        model.remove_items(range(1, 9), processor)
        model.generate(**request_of(model, processor, history=[[9], [10]]))  # with the four that are left
        with pytest.raises(ValueError, match="num_beams .12. exceeds the catalog .4 items"):
            model.generate(**request_of(model, processor, history=[[9], [10]]), num_beams=12)
        assert model.generation_config.num_beams == trained

    def test_generate_never_gives_one(self, method):
        model, processor = method
        codes = model.item_semantic_ids[0].tolist()
        model.remove_items([1], processor)
        tokens = model.generate(**request_of(model, processor), num_beams=11, num_return_sequences=11)
        size = model.config.codebook_size
        given = {tuple(int(token) - 1 - level * size for level, token in enumerate(row[1:])) for row in tokens[:11]}
        assert tuple(codes) not in given and len(given) == 11


class TestRefused:
    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ([], "items is empty"),
            ("soap", "give a list of records"),
            (["soap"], "new item 1 .id 13. is 'soap'"),
            ([{"title": " ", "brand": None, "categories": []}], "has no title, brand, category or text"),
            ([{"title": 7}], "title of new item 1 .id 13. is 7"),
            ([{"title": "a", "categories": "soap"}], "give a list of texts"),
            ([{"title": "a", "price": "cheap"}], "price of new item 1"),
            ([{"title": "a", "price": float("nan")}], "price of new item 1"),
            ([{"title": "a" * 200_000}], "has 200,000 characters and may have 100,000"),
            ([{"title": "a\ud800"}], "half of a character"),
            ([{"categories": ["\ud800"]}], "half of a character"),
            ([{"categories": ["", " "]}], "has no title, brand, category or text"),
            ([{"title": "\u200b"}], "has no title, brand, category or text"),
            ([{"title": "a\x00"}], "title of new item 1 .id 13. is .*a control character, U.0000"),
            ([{"title": "a", "brand": "\x1b[2J"}], "brand of new item 1 .* a control character, U.001B"),
            ([{"title": "a", "categories": ["b", "\x07"]}], "categories of new item 1 .* a control character, U.0007"),
            ([{"title": "a", "colour": "red"}], "new item 1 .id 13. has no field colour; there are item_id, .*title"),
            ([{"title": "a", "description": 7}], "description of new item 1 .id 13. is 7"),
            ([{"title": "a", "categories": ["b" * 60_000] * 2}], "categories of new item 1 .id 13. has 120,002"),
            ([{"title": "a", "price": 10**400}], "price of new item 1"),
            ([{"title": "a", "price": -1}], "price of new item 1"),
            ([{"title": "a", "item_id": 5}], "has the item_id 5, which exists already"),
            ([{"title": "a", "item_id": "99"}], "has the item_id 99, which would leave a gap"),
        ],
    )
    def test_an_item_that_nothing_could_find(self, items, message, steer):
        model, processor = steer
        with pytest.raises(ValueError, match=message):
            model.add_items(items, processor, codes=CODES[:1])
        assert model.config.num_items == processor.num_items == 12

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
    def test_an_embedding_that_is_none(self, value, steer):
        model, processor = steer
        vectors = torch.randn(3, 16)
        vectors[1] = value
        with pytest.raises(ValueError, match="embedding of new item 2"):
            model.add_items(NEW, processor, embeddings=vectors, codes=CODES)
        with pytest.raises(ValueError, match=r"of shape \(2, 16\), and must be floats of shape \(3, 16\)"):
            model.add_items(NEW, processor, embeddings=vectors[:2], codes=CODES)
        assert model.config.num_items == processor.num_items == len(model.item_embeddings) - 1 == 12

    def test_codes_that_are_exhausted_or_none(self, method):
        model, processor = method
        with pytest.raises(ValueError, match="of 12 new items find all 4 codes of the collision level taken") as error:
            model.add_items(NEW[:1] * 12, processor, codes=torch.zeros(12, 2, dtype=torch.long))
        taken = int((model.item_semantic_ids[:, :2] == 0).all(1).sum())  # so many items have these codes already
        full = range(5 - taken, 13)
        assert str(error.value).startswith(f"{len(full)} of 12 new items")
        assert f"codes: {', '.join(f'{row} [0, 0]' for row in full[:5])} and {len(full) - 5} more" in str(error.value)
        for codes, message in (
            (torch.tensor([[0, 4]]), r"range from 0 to 4, outside 0\.\.3"),
            (torch.tensor([[0, 0, 0]]), "without the collision level"),
            (torch.zeros(2, 2, dtype=torch.long), "1 items and 2 rows of codes"),
            (torch.zeros(1, 2), "must be integers"),
        ):
            with pytest.raises(ValueError, match=message):
                model.add_items(NEW[:1], processor, codes=codes)
        assert model.config.num_items == processor.num_items == len(model.item_semantic_ids) == 12

    @pytest.mark.parametrize(
        "values", ["abc", [None], [["a"]], [[1.0], [1.0, 2.0]], 5, torch.zeros(1, 2, device="meta")]
    )
    def test_tables_that_are_none(self, values, steer):
        model, processor = steer
        for name in ("embeddings", "codes"):
            with pytest.raises(ValueError, match=f"{name} are .*give a table of"):
                model.add_items(NEW[:1], processor, **{"codes": CODES[:1], name: values})
        with pytest.raises(ValueError, match="must be integers"):
            model.add_items(NEW[:1], processor, codes=[[True, False]])

    def test_ids_that_cannot_be_removed(self, method):
        model, processor = method
        model.remove_items([4], processor)
        for ids, message in (
            ([], "no ids"),
            ([4], "item 4 is removed already"),
            ([5, 5], "listed twice"),
            ([13], "13, which is no item"),
            ([0], "0, which is no item"),
            ([True], "True"),
            ([n for n in range(1, 13) if n != 4], "0 of 11 items would be left"),
            ([n for n in range(2, 13) if n != 4], "1 of 11 items would be left"),
        ):
            with pytest.raises(ValueError, match=message):
                model.remove_items(ids, processor)
        assert processor.removed_items == [4] == model.removed_items.tolist()

    def test_a_model_without_a_quantizer_or_embeddings_says_what_to_do(self, method):
        model, processor = method
        with pytest.raises(ValueError, match="no quantizer of its semantic IDs"):
            model.add_items(NEW, processor)
        processor.recipe = CatalogRecipe("residual_kmeans", {"codebooks": torch.randn(2, 4, 768)}, {}, "sentence-t5")
        with pytest.raises(ValueError, match="those of embeddings of sentence-t5"):
            model.add_items(NEW, processor)

    def test_a_processor_of_another_catalogue(self, steer, tmp_path):
        model, processor = steer
        _, other = tiny_models.build("steer", "bert", tmp_path / "other")
        model.remove_items([1], processor)
        with pytest.raises(ValueError, match="0 items of the processor are removed and 1 of the model"):
            model.add_items(NEW, other, codes=CODES)
        other.items = other.items[:5]
        with pytest.raises(ValueError, match="the processor has 5 items and the model 12"):
            model.remove_items([2], other)

    def test_a_pair_of_which_one_was_changed_is_refused_by_numbers_of_items(self, method, tmp_path):
        """Not by an index error, in the pipeline or where the tensors of a processor show it."""
        model, processor = method
        twin, changed = copy.deepcopy(model), copy.deepcopy(processor)
        pipes = [PreferenceRecommendationPipeline(model=twin, processor=one) for one in (changed, processor)]
        twin.add_items([{"title": "purple zither", "text": "purple zither"}], changed, codes=CODES[:1])
        request = {"history": [1]}
        assert pipes[0](request, k=1)
        with pytest.raises(ValueError, match="the processor has 12 items and the model 13; load model and processor"):
            pipes[1](request, k=1)
        with pytest.raises(
            ValueError, match="contains 13, which is no item .*load model and processor from one folder"
        ):
            processor.titles([13])
        twin.remove_items([13], changed)
        pipes[1].model, pipes[1].processor = model, changed
        with pytest.raises(ValueError, match="the processor has 13 items and the model 12; load model and processor"):
            pipes[1](request, k=1)
        if "history" in (inputs := request_of(model, changed, history=[[13], [1]])):
            with pytest.raises(ValueError, match="history contains item 13, and the model has 12 items"):
                model.recommend(**inputs, k=1)
        if "preference_words" in (inputs := request_of(model, changed, preference=["a zither", "red tea"])):
            with pytest.raises(ValueError, match="word 10, and the model has 12 items with 8 words"):
                model.recommend(**inputs, k=1)

    def test_tokens_of_another_model_are_refused_by_their_number(self, method):
        model, processor = method
        inputs = request_of(model, processor)
        name = next(name for name in ("input_ids", "preference_input_ids") if name in inputs)
        inputs[name][0, ..., 1] = 5000
        with pytest.raises(ValueError, match=r"input_ids contains 5000, and this model reads \d+ tokens"):
            model.recommend(**inputs, k=1)

    def test_a_processor_that_was_changed_otherwise(self, steer, tmp_path):
        model, processor = steer
        twin, other = tiny_models.build("steer", "bert", tmp_path / "twin")
        model.add_items(NEW, processor, codes=CODES)
        twin.add_items([*NEW[1:], NEW[0]], other, codes=CODES)
        for change in (
            lambda: model.remove_items([2], other),
            lambda: twin.add_items(NEW, processor, codes=CODES),
        ):
            with pytest.raises(ValueError, match="not those that this model was changed to"):
                change()
        model.remove_items([2], processor)

    def test_an_error_while_the_model_changes_leaves_the_processor_as_it_was(self, steer, monkeypatch):
        model, processor = steer
        before = processor.items_digest

        def fail(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(model.graph, "add_items", fail)
            with pytest.raises(KeyboardInterrupt):
                model.add_items(NEW, processor, codes=CODES)
        assert (processor.items_digest, processor.num_items) == (before, model.config.num_items)
        assert model.add_items(NEW, processor, codes=CODES) == list(range(13, 13 + len(NEW)))

    def test_an_item_without_text_is_named(self, steer):
        model, processor = steer
        processor.items = [
            item if number != 3 else {"title": item["title"]} for number, item in enumerate(processor.items, start=1)
        ]
        with pytest.raises(ValueError, match="item 3 has no text"):
            processor(history=[[1]], preference=["red tea"])
        with pytest.raises(ValueError, match="item 3 has no text"):
            model.add_items(NEW, processor, codes=CODES)
        assert processor.num_items == model.config.num_items == 12


class TestParts:
    def test_the_smallest_free_codes_are_taken_in_order(self):
        taken = torch.tensor([[1, 0], [1, 2], [2, 0]])
        assert assign_codes(torch.tensor([[1], [2], [1], [0]]), taken, 4).tolist() == [[1, 1], [2, 1], [1, 3], [0, 0]]

    def test_codes_beyond_64_bits_together_are_told_apart(self):
        """As one number, both rows in use would be the new one."""
        taken = torch.tensor([[1, 5, 0], [1 + (1 << 24), 5, 0]])
        learned = torch.tensor([[1, 5], [1 + (1 << 24), 5], [1 + (2 << 24), 5]])
        assert assign_codes(learned, taken, 1 << 40)[:, -1].tolist() == [1, 1, 0]

    @settings(max_examples=50, deadline=None)
    @given(data=st.data())
    def test_assigned_codes_are_all_different(self, data):
        codes = tiny_models.random_codes(20, 3, 4, data.draw(st.integers(0, 99)))
        learned = torch.tensor(data.draw(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=9)))
        learned = learned.view(-1, 2).long()
        try:
            new = assign_codes(learned, codes, 4)
        except ValueError:
            counts = torch.cat([codes[:, :2], learned]).unique(dim=0, return_counts=True)[1]
            assert counts.max() > 4
            return
        assert len(torch.cat([codes, new]).unique(dim=0)) == 20 + len(learned)
        assert new[:, :2].tolist() == learned.tolist()

    def test_words_of_trained_items_keep_their_ids_and_weights(self):
        texts = ["Walnut Lamp", "Brass Lamps", "Walnut Vase"]
        before, after = ItemWords(texts), ItemWords([*texts, "Amber Lamp", "Amber lamps of brass"], 3)
        assert after.vocabulary[: len(before)] == before.vocabulary and after.vocabulary[len(before) :] == ["amber"]
        assert after.idf[: len(before)] == before.idf and after.idf[-1] <= max(before.idf)
        assert after.items_with(after.word_ids["lamp"]) == [0, 1, 3, 4]
        assert ItemWords(texts, 3).idf == before.idf

    @settings(max_examples=100, deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "title": st.one_of(st.none(), st.text(max_size=9)),
                "brand": st.sampled_from([None, "", "Unknown", " n/a ", "OPI", " Dove "]),
                "categories": st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=3)),
                "price": st.one_of(st.none(), st.floats(0, 1e6)),
                "description": st.one_of(st.none(), st.text(max_size=9)),
            },
        )
    )
    def test_the_labeled_text_is_that_of_the_benchmark(self, item):
        fields = ("title", "price", "brand", "categories", "description")
        assert labeled_text(item, fields) == item_text(item, fields)

    def test_a_record_of_a_table_is_a_new_item(self):
        check_new_items([{"item_id": "B00", "title": None, "brand": "OPI", "categories": (), "price": 3}])
