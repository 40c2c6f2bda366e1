"""Registers models, processors and the pipeline with the Auto classes of transformers at import."""

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_baselines import MostPopularConfig, TransitionGraphConfig
from .configuration_mender import MenderEmbConfig, MenderTokConfig
from .configuration_mender_steer import MenderSteerConfig
from .configuration_rqvae import RQVAEConfig
from .configuration_sasrec import SASRecConfig
from .configuration_tiger import TigerConfig
from .modeling_baselines import MostPopular, TransitionGraph
from .modeling_mender import MenderEmb, MenderTok
from .modeling_mender_steer import MenderSteer
from .modeling_rqvae import RQVAEModel
from .modeling_sasrec import SASRec
from .modeling_tiger import Tiger
from .pipeline_preference_recommendation import PreferenceRecommendationPipeline
from .processing_item_ids import ItemIdProcessor
from .processing_mender import MenderEmbProcessor, MenderTokProcessor
from .processing_mender_steer import MenderSteerProcessor
from .processing_tiger import TigerProcessor

for _config, _model, _processor in (
    (MenderTokConfig, MenderTok, MenderTokProcessor),
    (MenderEmbConfig, MenderEmb, MenderEmbProcessor),
    (MenderSteerConfig, MenderSteer, MenderSteerProcessor),
    (TigerConfig, Tiger, TigerProcessor),
    (SASRecConfig, SASRec, ItemIdProcessor),
    (MostPopularConfig, MostPopular, ItemIdProcessor),
    (TransitionGraphConfig, TransitionGraph, ItemIdProcessor),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model)
    AutoProcessor.register(_config, _processor)
    _model.register_for_auto_class("AutoModel")
    _config.register_for_auto_class()
    _processor.register_for_auto_class()
    if _model.can_generate():
        AutoModelForSeq2SeqLM.register(_config, _model)

AutoConfig.register(RQVAEConfig.model_type, RQVAEConfig, exist_ok=True)
AutoModel.register(RQVAEConfig, RQVAEModel)
RQVAEConfig.register_for_auto_class()
RQVAEModel.register_for_auto_class("AutoModel")

PIPELINE_REGISTRY.register_pipeline(
    "preference-recommendation", pipeline_class=PreferenceRecommendationPipeline, pt_model=AutoModel
)
