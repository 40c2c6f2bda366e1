"""Mender's models; importing this package registers them with the Auto classes of transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoProcessor

from .configuration_mender import MenderEmbConfig, MenderTokConfig
from .configuration_rqvae import RQVAEConfig
from .modeling_mender import MenderEmb, MenderTok
from .modeling_rqvae import RQVAEModel
from .processing_mender import MenderEmbProcessor, MenderTokProcessor
from .semantic_ids import SemanticIds

__all__ = [
    "MenderEmb",
    "MenderEmbConfig",
    "MenderEmbProcessor",
    "MenderTok",
    "MenderTokConfig",
    "MenderTokProcessor",
    "RQVAEConfig",
    "RQVAEModel",
    "SemanticIds",
]

for _config, _model, _processor in (
    (MenderTokConfig, MenderTok, MenderTokProcessor),
    (MenderEmbConfig, MenderEmb, MenderEmbProcessor),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _model)
    AutoModelForSeq2SeqLM.register(_config, _model)
    AutoProcessor.register(_config, _processor)
    _model.register_for_auto_class("AutoModel")
    _config.register_for_auto_class()
    _processor.register_for_auto_class()

AutoConfig.register(RQVAEConfig.model_type, RQVAEConfig)
AutoModel.register(RQVAEConfig, RQVAEModel)
RQVAEConfig.register_for_auto_class()
RQVAEModel.register_for_auto_class("AutoModel")
