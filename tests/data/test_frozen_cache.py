"""What frozen encoders compute: once per text and encoder, kept on disk, the same in training, damage noticed."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tiny_models import TITLES, build
from transformers import AutoModel

from modeling_mender.data import frozen_cache
from modeling_mender.data.collators import EmbeddingCollator, TextCollator, embed_texts
from modeling_mender.data.frozen_cache import FrozenCache, encoder_fingerprint, text_key
from modeling_mender.data.requests import Example, Request
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.loop import TrainingRows, train

TEXTS = [f"search for {title}" for title in TITLES]
REQUESTS = [Request((1 + i,), (TEXTS[(i + 1) % 12],)) for i in range(12)]
EXAMPLES = [Example(request, 1 + (1 + i) % 12) for i, request in enumerate(REQUESTS)]
WITHOUT_PREFERENCE = [request._replace(preferences=()) for request in REQUESTS]


@pytest.fixture
def calls(monkeypatch):
    """Numbers of texts of every batch that a cache had computed."""
    sizes = []
    original = FrozenCache._compute

    def counting(self, batch, compute):
        sizes.append(len(batch))
        return original(self, batch, compute)

    monkeypatch.setattr(FrozenCache, "_compute", counting)
    return sizes


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


class TestFingerprint:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    @pytest.mark.parametrize("method", ["tok", "emb"])
    def test_a_model_saved_and_loaded_again_has_the_same(self, tmp_path, method, family):
        model, _ = build(method, family, tmp_path)
        model.save_pretrained(tmp_path / "model")
        loaded = AutoModel.from_pretrained(tmp_path / "model")
        assert encoder_fingerprint(loaded.text_encoder) == encoder_fingerprint(model.text_encoder)

    def test_one_weight_or_one_constant_of_the_configuration_makes_another(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        before = encoder_fingerprint(model.text_encoder)
        model.text_encoder.config.layer_norm_eps *= 2
        changed = encoder_fingerprint(model.text_encoder)
        with torch.no_grad():
            model.text_encoder.get_input_embeddings().weight[3, 5] += 1e-3
        assert len({before, changed, encoder_fingerprint(model.text_encoder)}) == 3


class TestEmbeddings:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_they_equal_those_computed_directly_in_the_order_given(self, tmp_path, family):
        model, processor = build("emb", family, tmp_path)
        texts = [*TEXTS, "", TEXTS[3]]
        expected = embed_texts(model, processor, texts, "texts")
        found = embed_texts(model, processor, texts, "texts", cache_dir=tmp_path / "cache")
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        again = embed_texts(model, processor, texts[::-1], "texts", cache_dir=tmp_path / "cache")
        assert torch.equal(again, found.flip(0))

    def test_only_missing_texts_are_computed(self, tmp_path, calls):
        model, processor = build("emb", "bert", tmp_path)
        cache_dir = tmp_path / "cache"
        embed_texts(model, processor, TEXTS[:8], "texts", cache_dir=cache_dir)
        assert sum(calls) == 8
        table = embed_texts(model, processor, TEXTS, "texts", cache_dir=cache_dir)
        assert sum(calls) == 12
        collator = EmbeddingCollator(processor, model, TEXTS, cache_dir=cache_dir)
        assert sum(calls) == 12
        assert torch.equal(collator.table, table)
        assert len(shards(cache_dir)) == 2

    def test_another_checkpoint_is_noticed(self, tmp_path, calls):
        model, processor = build("emb", "bert", tmp_path)
        before = embed_texts(model, processor, TEXTS, "texts", cache_dir=tmp_path / "cache")
        with torch.no_grad():
            for weight in model.text_encoder.parameters():
                weight.add_(0.1)
        after = embed_texts(model, processor, TEXTS, "texts", cache_dir=tmp_path / "cache")
        assert sum(calls) == 24
        torch.testing.assert_close(after, embed_texts(model, processor, TEXTS, "texts"), atol=1e-6, rtol=1e-5)
        assert not torch.allclose(after, before, atol=1e-3)

    def test_another_cut_of_the_text_is_another_text(self, tmp_path, calls):
        model, processor = build("emb", "bert", tmp_path)
        embed_texts(model, processor, TEXTS[:1], "texts", cache_dir=tmp_path / "cache")
        processor.max_length = 4
        embed_texts(model, processor, TEXTS[:1], "texts", cache_dir=tmp_path / "cache")
        assert sum(calls) == 2

    def test_no_texts_make_an_empty_table_and_no_folder(self, tmp_path):
        model, processor = build("emb", "bert", tmp_path)
        assert embed_texts(model, processor, [], "texts", cache_dir=tmp_path / "cache").shape == (0, 16)
        assert not (tmp_path / "cache").exists()


class TestHiddenStates:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_a_batch_read_from_disk_makes_the_encoder_states_of_its_tokens(self, tmp_path, family):
        model, processor = build("tok", family, tmp_path)
        collator = TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache")
        requests = [REQUESTS[0], Request((1, 2, 3), ()), Request((), ("look for tea",))]
        lengths = [collator.length(request) for request in requests]
        tokens = collator(requests)
        assert set(tokens) == {"input_ids", "attention_mask"}  # nothing was prepared: right, if slow
        collator.prepare(requests)
        batch = collator(requests)
        assert set(batch) == {"text_hidden_states", "attention_mask"}
        assert [collator.length(request) for request in requests] == lengths
        assert torch.equal(batch["attention_mask"], tokens["attention_mask"])
        expected, found = model.encode(**tokens).last_hidden_state, model.encode(**batch).last_hidden_state
        mask = tokens["attention_mask"].bool()
        torch.testing.assert_close(found[mask], expected[mask], atol=2e-3, rtol=2e-3)  # float16: 11 bits
        logits = [
            model(**inputs, labels=model.item_labels(torch.tensor([1, 2, 3]))).logits for inputs in (tokens, batch)
        ]
        torch.testing.assert_close(*logits, atol=2e-3, rtol=2e-3)

    def test_recommendations_from_disk_are_those_from_tokens(self, tmp_path):
        model, processor = build("tok", "bert", tmp_path)
        plain, cached = (
            TextCollator(processor, model, TEXTS),
            TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache"),
        )
        cached.prepare(REQUESTS)
        expected, found = (model.recommend(**collator(REQUESTS), k=5) for collator in (plain, cached))
        assert found.items.tolist() == expected.items.tolist()
        torch.testing.assert_close(found.scores, expected.scores, atol=2e-3, rtol=2e-3)

    def test_a_second_collator_computes_nothing(self, tmp_path, calls):
        model, processor = build("tok", "bert", tmp_path)
        first = TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache")
        first.prepare([*REQUESTS, *REQUESTS, *WITHOUT_PREFERENCE])
        assert sum(calls) == 24
        second = TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache")
        second.prepare(WITHOUT_PREFERENCE)
        assert sum(calls) == 24
        for name, value in second(WITHOUT_PREFERENCE).items():
            assert torch.equal(value, first(WITHOUT_PREFERENCE)[name])

    def test_the_size_is_known_beforehand_and_refused_over_the_limit(self, tmp_path, calls):
        model, processor = build("tok", "bert", tmp_path)
        num_tokens = sum(len(processor.token_ids(*request[:2])) for request in REQUESTS)
        num_bytes = num_tokens * 16 * 2
        collator = TextCollator(processor, model, TEXTS, tmp_path / "cache", cache_limit_gb=(num_bytes - 1) / 1e9)
        with pytest.raises(ValueError, match=rf"{num_tokens} states x 16 x 2 bytes.*cache_limit_gb"):
            collator.prepare(REQUESTS)
        assert calls == []
        assert set(collator(REQUESTS)) == {"input_ids", "attention_mask"}
        collator = TextCollator(processor, model, TEXTS, tmp_path / "cache", cache_limit_gb=num_bytes / 1e9)
        collator.prepare(REQUESTS)
        states = sum(shard.states.nbytes for shard in collator.cache._shards.values())
        assert states == num_bytes

    def test_a_disk_without_room_is_refused(self, tmp_path, monkeypatch):
        model, processor = build("tok", "bert", tmp_path)
        monkeypatch.setattr(frozen_cache.shutil, "disk_usage", lambda path: type("usage", (), {"free": 10}))
        with pytest.raises(ValueError, match="another cache_dir"):
            TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache").prepare(REQUESTS)

    def test_states_too_large_for_float16_are_refused(self, tmp_path):
        model, processor = build("tok", "t5", tmp_path)
        with torch.no_grad():
            model.text_encoder.encoder.final_layer_norm.weight.fill_(1e6)
        with pytest.raises(ValueError, match=r"float16.*leave cache_dir out"):
            TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache").prepare(REQUESTS)

    def test_an_encoder_that_is_trained_is_refused_and_one_that_was_is_not(self, tmp_path):
        model, processor = build("tok", "bert", tmp_path)
        model.unfreeze_text_encoder()
        model.train()
        with pytest.raises(ValueError, match="leave cache_dir out"):
            TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache")
        TextCollator(processor, model.eval(), TEXTS, cache_dir=tmp_path / "cache").prepare(REQUESTS)

    def test_a_file_in_place_of_the_folder_is_refused(self, tmp_path):
        model, processor = build("tok", "bert", tmp_path)
        (tmp_path / "cache").write_text("")
        with pytest.raises(ValueError, match="is a file"):
            TextCollator(processor, model, TEXTS, cache_dir=tmp_path / "cache")


class TestShards:
    """Interrupted, damaged, shared."""

    def cache(self, tmp_path, text_encoder):
        return FrozenCache(tmp_path / "cache", "states", text_encoder, torch.float32, per_token=True)

    @pytest.fixture
    def text_encoder(self, tmp_path):
        return build("tok", "bert", tmp_path)[0].text_encoder

    @staticmethod
    def compute(input_ids, attention_mask):
        """A state per token: the token, sixteen times."""
        return input_ids.unsqueeze(-1).expand(-1, -1, 16).float()

    TEXTS = {text_key(tokens): tokens for tokens in ([5, 6, 7], [8, 9], [4], [3, 2, 1, 11])}  # noqa: RUF012

    def test_every_text_has_its_own_states_without_padding(self, tmp_path, text_encoder):
        cache = self.cache(tmp_path, text_encoder)
        cache.fill(self.TEXTS, self.compute, "texts")
        for key, tokens in self.TEXTS.items():
            assert cache.length(key) == len(tokens)
            assert cache.read(key).tolist() == [[token] * 16 for token in tokens]

    def test_the_file_is_mapped_not_read(self, tmp_path, text_encoder):
        maps = Path("/proc/self/maps")
        if not maps.exists():
            pytest.skip("what a process has mapped is known here on Linux only")
        cache = self.cache(tmp_path, text_encoder)
        cache.fill(self.TEXTS, self.compute, "texts")
        (shard,) = shards(tmp_path / "cache")
        assert str(shard) in maps.read_text()

    def test_what_was_finished_before_an_interruption_is_kept(self, tmp_path, text_encoder, monkeypatch):
        monkeypatch.setattr(frozen_cache, "SHARD_BYTES", 1)  # a shard per batch
        monkeypatch.setattr(frozen_cache, "TOKENS_PER_BATCH", 1)  # a batch per text
        seen = []

        def interrupted(input_ids, attention_mask):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(input_ids.shape[1])
            return self.compute(input_ids, attention_mask)

        with pytest.raises(KeyboardInterrupt):
            self.cache(tmp_path, text_encoder).fill(self.TEXTS, interrupted, "texts")
        assert seen == [4, 3]  # the longest first
        folder = shards(tmp_path / "cache")[0].parent
        (folder / ".a.safetensors.abcd1234.tmp/new").mkdir(parents=True)
        for name in ("half.tmp", ".a.safetensors.abcd1234.tmp/new/.tmpXyZ"):
            (folder / name).write_bytes(b"half a shard")
        cache = self.cache(tmp_path, text_encoder)
        assert sum(key in cache for key in self.TEXTS) == 2
        cache.fill(self.TEXTS, lambda *tokens: seen.append(0) or self.compute(*tokens), "texts")
        assert seen == [4, 3, 0, 0]
        assert not list((tmp_path / "cache").rglob("*.tmp"))

    @pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: b"not a shard" * 9])
    def test_a_file_cut_short_is_computed_again(self, tmp_path, text_encoder, damage, caplog):
        self.cache(tmp_path, text_encoder).fill(self.TEXTS, self.compute, "texts")
        (shard,) = shards(tmp_path / "cache")
        shard.write_bytes(damage(shard.read_bytes()))
        cache = self.cache(tmp_path, text_encoder)
        assert f"{shard} is damaged" in caplog.text
        assert not any(key in cache for key in self.TEXTS)
        cache.fill(self.TEXTS, self.compute, "texts")
        assert all(cache.read(key)[:, 0].tolist() == tokens for key, tokens in self.TEXTS.items())

    @pytest.mark.parametrize(
        "change",
        [
            {"offsets": torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])},
            {"offsets": torch.tensor([], dtype=torch.int64)},
            {"keys": torch.zeros(4, 8, dtype=torch.uint8)},
            {"keys": torch.zeros(64, dtype=torch.uint8)},
            {"checksums": torch.zeros(4)},
            {"states": torch.zeros(3, 2)},
            {"more": torch.zeros(1)},
        ],
    )
    def test_tensors_that_do_not_fit_are_computed_again(self, tmp_path, text_encoder, caplog, change):
        self.cache(tmp_path, text_encoder).fill(self.TEXTS, self.compute, "texts")
        (shard,) = shards(tmp_path / "cache")
        save_file({**{name: one.clone() for name, one in load_file(shard).items()}, **change}, shard)
        cache = self.cache(tmp_path, text_encoder)
        assert "is damaged" in caplog.text
        assert not any(key in cache for key in self.TEXTS)

    def test_a_full_disk_names_the_file_and_keeps_nothing_half(self, tmp_path, text_encoder, monkeypatch):
        def full(*_):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        monkeypatch.setattr(frozen_cache, "save_file", full)
        with pytest.raises(OSError, match=r"cannot write .*make room there.*\.safetensors"):
            self.cache(tmp_path, text_encoder).fill(self.TEXTS, self.compute, "texts")
        assert not list((tmp_path / "cache").rglob("*.tmp")) and not shards(tmp_path / "cache")

    def test_a_changed_byte_is_named_when_it_is_read(self, tmp_path, text_encoder):
        self.cache(tmp_path, text_encoder).fill(self.TEXTS, self.compute, "texts")
        (shard,) = shards(tmp_path / "cache")
        data = bytearray(shard.read_bytes())
        data[data.index(torch.full((16,), 4.0).numpy().tobytes())] ^= 1  # the one state of the text [4]
        shard.write_bytes(bytes(data))
        cache = self.cache(tmp_path, text_encoder)
        damaged = []
        for key in self.TEXTS:
            try:
                cache.read(key)
            except ValueError as error:
                assert str(shard) in str(error) and "delete it" in str(error)  # noqa: PT018
                damaged.append(self.TEXTS[key])
        assert damaged == [[4]]

    def test_of_two_processes_at_once_one_computes(self, tmp_path, text_encoder):
        context = multiprocessing.get_context("fork")  # a fresh process would import for seconds
        together, counts = context.Barrier(2), context.Queue()

        def fill():
            computed = []

            def slow(input_ids, attention_mask):
                time.sleep(0.3)
                computed.append(len(input_ids))
                return self.compute(input_ids, attention_mask)

            cache = self.cache(tmp_path, text_encoder)
            together.wait(60)  # both have seen an empty folder
            cache.fill(self.TEXTS, slow, "texts")
            counts.put((sum(computed), [cache.read(key)[:, 0].tolist() for key in self.TEXTS]))

        processes = [context.Process(target=fill) for _ in range(2)]
        for process in processes:
            process.start()
        found = sorted(counts.get(timeout=60) for _ in processes)
        for process in processes:
            process.join(60)
        assert found == [(0, list(self.TEXTS.values())), (4, list(self.TEXTS.values()))]


def train_toy(folder, tmp_path, cache_dir, max_steps=12, validate=lambda _: 0.0, **changes):
    """Trains the toy Mender_Tok; returns its model, and the loss of every step."""
    AcceleratorState._reset_state(reset_partial_state=True)
    arguments = make_arguments(
        benchmark="b", domain="d", output_dir=str(folder), max_steps=max_steps, warmup_steps=2, eval_steps=6,
        per_device_train_batch_size=8, learning_rate=1e-3, preference_dropout=0.3, cache_dir=cache_dir, **changes,
    )  # fmt: skip
    model, processor = build("tok", "bert", tmp_path, dropout_rate=arguments.dropout_rate)
    collator = TextCollator(processor, model.train(), TEXTS, cache_dir, arguments.cache_limit_gb)
    collator.prepare([*REQUESTS, *WITHOUT_PREFERENCE])
    losses, original = [], model.forward

    def forward(**batch):
        assert ("text_hidden_states" in batch) == (cache_dir is not None)
        output = original(**batch)
        losses.append(output.loss.item())
        return output

    model.forward = forward
    rows = TrainingRows(EXAMPLES * 4, collator.group(EXAMPLES * 4), arguments.preference_dropout, arguments.seed)
    accelerator = Accelerator(cpu=True)
    train(model, processor, collator, rows, validate, arguments, accelerator)
    return accelerator.unwrap_model(model), losses


class TestTraining:
    def test_losses_are_those_without_a_cache(self, tmp_path):
        _, expected = train_toy(tmp_path / "plain", tmp_path, None)
        _, found = train_toy(tmp_path / "cached", tmp_path, str(tmp_path / "cache"))
        assert len(found) == len(expected) == 12
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=2e-3, rtol=0)
        assert expected[-1] < expected[0] - 0.05  # the tolerance is small beside what was learned

    def test_a_continued_run_equals_an_unbroken_one(self, tmp_path):
        cache_dir = str(tmp_path / "cache")
        whole, losses = train_toy(tmp_path / "whole", tmp_path, cache_dir)
        validations = iter(range(9))

        def interrupted(_):
            if next(validations) == 1:
                raise KeyboardInterrupt
            return 0.0

        with pytest.raises(KeyboardInterrupt):
            train_toy(tmp_path / "broken", tmp_path, cache_dir, validate=interrupted)
        continued, rest = train_toy(tmp_path / "broken", tmp_path, cache_dir)
        assert rest == losses[-len(rest) :]
        assert len(rest) == 6
        for name, value in whole.state_dict().items():
            assert torch.equal(continued.state_dict()[name], value), name
