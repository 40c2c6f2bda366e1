"""What of a pretrained model is trained: which weights LoRA touches, adapters in peft's format, full fine-tuning."""

import json

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_models import TITLES, build

from modeling_mender.data.collators import TextCollator
from modeling_mender.data.requests import Example, Request
from modeling_mender.training.arguments import make_arguments
from modeling_mender.training.loop import TrainingRows, train
from modeling_mender.training.lora import (
    add_lora,
    apply_finetuning,
    find_targets,
    load_adapter,
    merged_state_dict,
    save_adapter,
)

REQUIRED = {"benchmark": "b", "domain": "d", "output_dir": "o"}
BOTH = ("text_encoder", "decoder")


@pytest.fixture(autouse=True)
def peft():
    return pytest.importorskip("peft")


def inputs(processor):
    return processor(history=[[1, 2], [3]], preference=["search for red tea", None])


def train_a_little(model, processor, steps=3):
    """A few large steps, so that every trainable weight moves; the model is left in evaluation mode."""
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.05)
    for _ in range(steps):
        model(**inputs(processor), labels=model.item_labels(torch.tensor([3, 7]))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def logits(model, processor):
    return model(**inputs(processor), labels=model.item_labels(torch.tensor([3, 7]))).logits


def trainable(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


class TestParts:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_the_decoder_of_mender_stays_trained_in_full(self, tmp_path, family):
        model, _ = build("tok", family, tmp_path)
        before = trainable(model)
        assert not any(name.startswith("text_encoder.") for name in before)
        add_lora(model, rank=2, alpha=1)
        added = trainable(model) - before
        assert before <= trainable(model)
        assert all(name.startswith("text_encoder.") and ".lora_" in name for name in added)
        # q, k, v and the output of the one layer, two factors each
        assert len(added) == 8

    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_of_an_adapted_decoder_only_lora_and_the_codes_are_trained(self, tmp_path, family):
        model, processor = build("tok", family, tmp_path)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        add_lora(model, rank=2, alpha=1, parts=BOTH)
        decoder = {name for name in trainable(model) if name.startswith("decoder.")}
        assert {name for name in decoder if ".lora_" not in name} == {"decoder.embed_tokens.weight"}
        assert len(decoder) - 1 == 2 * 2 * 4 * 2  # layers, self- and cross-attention, projections, factors
        train_a_little(model, processor)
        after = {name.replace(".base_layer.", "."): value for name, value in model.state_dict().items()}
        moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
        assert moved == {"decoder.embed_tokens.weight", "projection.weight", "projection.bias"}

    def test_both_parts_merge_into_plain_weights_and_recommend_alike(self, tmp_path):
        model, processor = build("tok", "t5", tmp_path)
        plain = set(model.state_dict())
        add_lora(model, rank=2, alpha=4, parts=BOTH)
        train_a_little(model, processor)
        expected = model.recommend(**inputs(processor), k=5, num_beams=12)
        with merged_state_dict(model) as merged:
            assert set(merged) == plain
            rebuilt, _ = build("tok", "t5", tmp_path)
            rebuilt.load_state_dict(merged)
        found = rebuilt.recommend(**inputs(processor), k=5, num_beams=12)
        assert found.items.tolist() == expected.items.tolist()
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-4)

    def test_a_part_that_does_not_exist_is_named_with_those_that_do(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        with pytest.raises(ValueError, match=r"'encoder' is not in MenderTok.*decoder, text_encoder, projection"):
            add_lora(model, rank=2, alpha=1, parts=("encoder",))


class TestTargets:
    def test_attention_projections_of_the_whole_text_encoder_and_nothing_else(self, tmp_path):
        model, _ = build("tok", "t5", tmp_path)
        assert find_targets(model, ("text_encoder",)) == [
            f"text_encoder.encoder.block.0.layer.0.SelfAttention.{name}" for name in "qkvo"
        ]

    def test_names_choose_other_layers(self, tmp_path):
        model, _ = build("tok", "t5", tmp_path)
        names = ["wi", "SelfAttention.q"]
        found = find_targets(model, BOTH, names)
        assert found == [
            "text_encoder.encoder.block.0.layer.0.SelfAttention.q",
            "text_encoder.encoder.block.0.layer.1.DenseReluDense.wi",
            *(
                f"decoder.block.{block}.layer.{layer}"
                for block in range(2)
                for layer in ("0.SelfAttention.q", "2.DenseReluDense.wi")
            ),
        ]
        add_lora(model, rank=2, alpha=1, parts=BOTH, target_modules=names)
        adapted = {name.split(".lora_")[0] for name in trainable(model) if ".lora_" in name}
        assert adapted == set(found)

    def test_an_unknown_name_is_refused_with_those_there_are(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        with pytest.raises(ValueError, match=r"'q_proj'.*text_encoder; there are dense, key, query, value"):
            add_lora(model, rank=2, alpha=1, target_modules=["query", "q_proj"])

    def test_a_part_without_known_projections_says_what_there_is(self, tmp_path):
        model, _ = build("tok", "t5", tmp_path)
        model.text_encoder.encoder.block[0].layer[0] = torch.nn.Identity()
        with pytest.raises(ValueError, match=r"T5EncoderModel.*there are wi, wo"):
            add_lora(model, rank=2, alpha=1)

    def test_dropout_touches_training_and_not_evaluation(self, tmp_path):
        outputs = []
        for dropout in (0.0, 0.5):
            model, processor = build("tok", "t5", tmp_path, dropout_rate=0.0)
            for module in model.text_encoder.modules():  # no dropout but LoRA's
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
                elif isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.0
            add_lora(model, rank=4, alpha=8, dropout=dropout)
            for name, weight in model.named_parameters():
                if ".lora_B" in name:  # 0 at the start: the update would be nothing
                    torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
                elif ".lora_A" in name:
                    torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
            outputs.append([logits(model.train(mode), processor) for mode in (False, True)])
        (plain, plain_training), (evaluated, training) = outputs
        torch.testing.assert_close(plain_training, plain)
        torch.testing.assert_close(evaluated, plain)
        assert not torch.allclose(training, plain, atol=1e-3)


class TestAdapters:
    @pytest.mark.parametrize("family", ["bert", "t5"])
    @pytest.mark.parametrize("parts", [("text_encoder",), BOTH])
    def test_an_adapter_on_a_model_built_anew_is_the_trained_model(self, tmp_path, peft, family, parts):
        model, processor = build("tok", family, tmp_path)
        add_lora(model, rank=2, alpha=4, parts=parts)
        train_a_little(model, processor)
        save_adapter(model, tmp_path / "adapter")
        assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        with merged_state_dict(model) as state_dict:
            merged, _ = build(family=family, method="tok", folder=tmp_path, seed=5)
            merged.load_state_dict(state_dict)
        expected = logits(merged, processor)
        torch.testing.assert_close(logits(model, processor), expected, atol=1e-5, rtol=1e-5)
        untrained, _ = build("tok", family, tmp_path)
        assert not torch.allclose(logits(untrained, processor), expected, atol=1e-2)
        wrapped = peft.PeftModel.from_pretrained(untrained, str(tmp_path / "adapter")).eval()
        torch.testing.assert_close(logits(wrapped, processor), expected, atol=1e-5, rtol=1e-5)
        assert (
            wrapped.recommend(**inputs(processor), k=5).items.tolist()
            == merged.recommend(**inputs(processor), k=5).items.tolist()
        )
        # a decoder that was trained in full may start anyhow; one that was adapted starts as it did
        rebuilt, _ = build("tok", family, tmp_path, seed=0 if "decoder" in parts else 7)
        loaded = load_adapter(rebuilt, tmp_path / "adapter")
        assert set(loaded.state_dict()) == set(merged.state_dict())
        for name, value in merged.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-6, rtol=1e-5)

    def test_a_model_can_be_trained_on_after_its_adapter_was_saved(self, tmp_path):
        states = []
        for saves in (False, True):
            model, processor = build("tok", "bert", tmp_path)
            torch.manual_seed(0)
            add_lora(model, rank=2, alpha=1)
            train_a_little(model, processor)
            if saves:
                save_adapter(model, tmp_path / "adapter")
                save_adapter(model, tmp_path / "adapter")  # the next best model
            states.append(train_a_little(model, processor).state_dict())
        assert set(states[0]) == set(states[1])
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_its_configuration_says_what_it_needs(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        add_lora(model, rank=3, alpha=6, dropout=0.1)
        save_adapter(model, tmp_path / "adapter")
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        assert (config["peft_type"], config["r"], config["lora_alpha"], config["lora_dropout"]) == ("LORA", 3, 6, 0.1)
        assert config["inference_mode"] is True
        assert "projection" in config["modules_to_save"]

    def test_an_adapter_of_other_sizes_or_none_is_refused(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        with pytest.raises(ValueError, match="has no LoRA"):
            save_adapter(model, tmp_path / "adapter")
        with pytest.raises(FileNotFoundError, match=r"adapter_config.json is missing"):
            load_adapter(model, tmp_path / "adapter")
        add_lora(model, rank=2, alpha=1)
        save_adapter(model, tmp_path / "adapter")
        narrower, _ = build("tok", "bert", tmp_path)
        narrower.projection = torch.nn.Linear(16, 8)
        for other in (build("tok", "t5", tmp_path)[0], narrower):
            with pytest.raises(ValueError, match="does not fit this MenderTok"):
                load_adapter(other, tmp_path / "adapter")


class TestFinetuning:
    def arguments(self, **changes):
        return make_arguments(**(REQUIRED | changes))

    @pytest.mark.parametrize("family", ["bert", "t5"])
    def test_the_whole_text_encoder_is_trained(self, tmp_path, family):
        model, processor = build("tok", family, tmp_path)
        before = {name: value.clone() for name, value in model.text_encoder.named_parameters()}
        apply_finetuning(model, self.arguments(finetune_text_encoder=True))
        train_a_little(model, processor)
        moved = {name for name, value in model.text_encoder.named_parameters() if not torch.equal(before[name], value)}
        assert moved == {name for name in before if not name.startswith("pooler.")}
        assert all(weight.grad is None for weight in model.parameters() if not weight.requires_grad)

    def test_a_pretrained_decoder_is_trained_whole_too(self, tmp_path):
        model, _ = build("tok", "t5", tmp_path)
        model.decoder.requires_grad_(False)
        model.lora_parts = BOTH
        apply_finetuning(model, self.arguments(finetune_text_encoder=True))
        assert trainable(model) == {name for name, _ in model.named_parameters()}

    def test_every_trainable_weight_gets_a_gradient(self, tmp_path):
        """Or training on several processes stops."""
        model, processor = build("tok", "bert", tmp_path)
        apply_finetuning(model, self.arguments(finetune_text_encoder=True))
        model(**inputs(processor), labels=model.item_labels(torch.tensor([3, 7]))).loss.backward()
        assert [
            name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None
        ] == []

    def test_arguments_reach_lora(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        apply_finetuning(
            model, self.arguments(lora_rank=3, lora_alpha=5, lora_dropout=0.2, lora_target_modules=["query"])
        )
        config = model.peft_config["default"]
        assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 5, 0.2)
        assert all(name.endswith("self.query") for name in config.target_modules)

    def test_nothing_is_touched_where_nothing_is_asked(self, tmp_path):
        model, _ = build("tok", "bert", tmp_path)
        before = trainable(model)
        apply_finetuning(model, self.arguments())
        assert trainable(model) == before
        assert model.text_encoder_is_frozen

    def test_a_method_without_a_text_encoder_has_nothing_to_tune(self):
        model = torch.nn.Linear(1, 1)
        with pytest.raises(ValueError, match="no pretrained part; set lora_rank to 0"):
            apply_finetuning(model, self.arguments(lora_rank=1))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"finetune_text_encoder": True, "lora_rank": 4}, r"lora_rank \(4\).*choose one"),
            (
                {"finetune_text_encoder": True, "method": "mender_emb"},
                "mender_emb does not read finetune_text_encoder",
            ),
            ({"finetune_text_encoder": True, "cache_dir": "c"}, r"finetune_text_encoder trains it; leave cache_dir"),
            ({"lora_rank": 2, "cache_dir": "c"}, r"lora_rank \(2\) trains it; leave cache_dir out"),
            ({"save_adapter": True}, "save_adapter .* needs LoRA"),
            ({"lora_dropout": 0.1}, "lora_dropout .* needs LoRA"),
            ({"lora_target_modules": ["q"]}, "lora_target_modules .* needs LoRA"),
            ({"lora_rank": 1, "lora_dropout": 1.0}, r"lora_dropout \(1.0\) must be in \[0, 1\)"),
            ({"cache_limit_gb": 0.0}, "must be positive"),
        ],
    )
    def test_contradictions_are_refused(self, changes, words):
        with pytest.raises(ValueError, match=words):
            self.arguments(**changes)

    def test_the_loop_trains_a_whole_text_encoder(self, tmp_path):
        AcceleratorState._reset_state(reset_partial_state=True)
        arguments = make_arguments(**(REQUIRED | {
            "output_dir": str(tmp_path / "run"), "max_steps": 4, "warmup_steps": 1, "eval_steps": 2,
            "per_device_train_batch_size": 4, "finetune_text_encoder": True,
        }))  # fmt: skip
        model, processor = build("tok", "bert", tmp_path)
        before = model.text_encoder.get_input_embeddings().weight.clone()
        apply_finetuning(model.train(), arguments)
        examples = [Example(Request((1 + i,), (f"search for {TITLES[i]}",)), 1 + i) for i in range(12)]
        collator = TextCollator(processor, model, [])
        rows = TrainingRows(examples, collator.group(examples), 0.0, 0)
        train(model, processor, collator, rows, lambda _: 1.0, arguments, Accelerator(cpu=True))
        assert not torch.equal(model.text_encoder.get_input_embeddings().weight, before)
