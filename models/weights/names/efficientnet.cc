// EfficientNet's and EfficientNet-Lite's layers in other frameworks.
#include "models/efficientnet.h"

#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

using Channels = EfficientNetChannels;
using Block = EfficientNetBlock;

void torchvision(NameList& n, const Channels& channels) {
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs + ".0", theirs + ".1", theirs + ".2", kind);
    n.plain(ours, theirs);
  };
  layer("stem", "features.0");
  int block = 0;
  for (const Block& b : channels.blocks) {
    const std::string ours = str("block_", block++), theirs = str("features.", b.stage + 1, ".", b.in_stage);
    int next = 0;
    const auto part = [&] { return str(theirs, ".block.", next++); };
    if (b.expand) layer(ours + ".expand", part());
    layer(ours + ".depthwise", part(), LayerKind::depthwise);
    const std::string se = part();
    n.squeeze_excite(ours, se + ".fc1", se + ".fc2");
    n.plain(ours + ".se", se);
    const std::string project = part();
    n.conv_bn_act(ours + ".project", project + ".0", project + ".1");
    n.plain(ours + ".project", project);
    n.plain(ours, theirs);
    if (b.last) n.plain(ours, str("features.", b.stage + 1));
  }
  const std::string head = str("features.", channels.blocks.back().stage + 2);
  layer("head", head);
  n.plain("head", "features");
  n.plain("pool", "avgpool");
  n.plain("dropout", "classifier.0");
  n.dense("classifier", "classifier.1");
}

void timm(NameList& n, const Channels& channels) {
  n.conv_bn_act("stem", "conv_stem", "bn1");
  int block = 0;
  for (const Block& b : channels.blocks) {
    const std::string ours = str("block_", block++), theirs = str("blocks.", b.stage, ".", b.in_stage);
    if (b.expand) n.conv_bn_act(ours + ".expand", theirs + ".conv_pw", theirs + ".bn1");
    n.conv_bn_act(ours + ".depthwise", theirs + ".conv_dw", theirs + (b.expand ? ".bn2" : ".bn1"), {},
                  LayerKind::depthwise);
    if (b.squeezed > 0) {
      n.squeeze_excite(ours, theirs + ".se.conv_reduce", theirs + ".se.conv_expand");
      n.plain(ours + ".se", theirs + ".se");
    }
    n.conv_bn_act(ours + ".project", theirs + (b.expand ? ".conv_pwl" : ".conv_pw"),
                  theirs + (b.expand ? ".bn3" : ".bn2"));
    n.plain(ours, theirs);
    if (b.last) n.plain(ours, str("blocks.", b.stage));
  }
  n.conv_bn_act("head", "conv_head", "bn2");
  n.plain("pool", "global_pool");
  n.dense("classifier", "classifier");
}

void keras(NameList& n, const Channels& channels) {
  n.plain("rescaling", "rescaling");
  n.add("normalization", "normalization", LayerKind::rescale);
  n.plain("rescaling_1", "rescaling_1");
  const auto layer = [&](const std::string& ours, const std::string& conv, const std::string& stem,
                         LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, conv, stem + "bn", stem + "activation", kind);
  };
  layer("stem", "stem_conv", "stem_");
  int block = 0;
  for (const Block& b : channels.blocks) {
    const std::string ours = str("block_", block++);
    const std::string theirs = str("block", b.stage + 1, static_cast<char>('a' + b.in_stage), "_");
    if (b.expand) layer(ours + ".expand", theirs + "expand_conv", theirs + "expand_");
    layer(ours + ".depthwise", theirs + "dwconv", theirs, LayerKind::depthwise);
    n.squeeze_excite(ours, theirs + "se_reduce", theirs + "se_expand");
    n.plain(ours + ".se.reduce", theirs + "se_reduce");
    n.plain(ours + ".se.expand", theirs + "se_expand");
    n.plain(ours + ".se", theirs + "se_excite");
    n.conv_bn_act(ours + ".project", theirs + "project_conv", theirs + "project_bn");
    if (b.shortcut) n.plain(ours, theirs + "add");
  }
  layer("head", "top_conv", "top_");
  n.plain("pool", "avg_pool");
  n.plain("dropout", "top_dropout");
  n.dense("classifier", "predictions");
}

void huggingface(NameList& n, const Channels& channels) {
  const std::string root = "efficientnet.", encoder = root + "encoder.";
  n.conv_bn_act("stem", root + "embeddings.convolution", root + "embeddings.batchnorm", root + "embeddings");
  int block = 0;
  for (const Block& b : channels.blocks) {
    const std::string ours = str("block_", block), theirs = str(encoder, "blocks.", block);
    ++block;
    if (b.expand) {
      const std::string at = theirs + ".expansion";
      n.conv_bn_act(ours + ".expand", at + ".expand_conv", at + ".expand_bn", at);
    }
    const std::string depthwise = theirs + ".depthwise_conv";
    n.conv_bn_act(ours + ".depthwise", depthwise + ".depthwise_conv", depthwise + ".depthwise_norm", depthwise,
                  LayerKind::depthwise);
    n.squeeze_excite(ours, theirs + ".squeeze_excite.reduce", theirs + ".squeeze_excite.expand");
    n.plain(ours + ".se", theirs + ".squeeze_excite");
    n.conv_bn_act(ours + ".project", theirs + ".projection.project_conv", theirs + ".projection.project_bn");
    n.plain(ours, theirs + ".projection");
    n.plain(ours, theirs);
  }
  n.conv_bn_act("head", encoder + "top_conv", encoder + "top_bn", root + "encoder");
  n.plain("pool", root + "pooler");
  n.plain("dropout", "dropout");
  n.dense("classifier", "classifier");
}

void lukemelas(NameList& n, const Channels& channels) {
  n.conv_bn("stem", "_conv_stem", "_bn0");
  int block = 0;
  for (const Block& b : channels.blocks) {
    const std::string ours = str("block_", block), theirs = str("_blocks.", block, ".");
    ++block;
    if (b.expand) n.conv_bn(ours + ".expand", theirs + "_expand_conv", theirs + "_bn0");
    n.conv_bn(ours + ".depthwise", theirs + "_depthwise_conv", theirs + "_bn1", LayerKind::depthwise);
    if (b.squeezed > 0) n.squeeze_excite(ours, theirs + "_se_reduce", theirs + "_se_expand");
    n.conv_bn(ours + ".project", theirs + "_project_conv", theirs + "_bn2");
    n.plain(ours, theirs.substr(0, theirs.size() - 1));
  }
  n.conv_bn_act("head", "_conv_head", "_bn1");
  n.plain("pool", "_avg_pooling");
  n.plain("dropout", "_dropout");
  n.dense("classifier", "_fc");
}

LayerNames names_of(const Options& o, Layout layout, bool lite) {
  const Channels channels = efficientnet_channels(o, lite);
  NameList n;
  switch (layout) {
    case Layout::torchvision: torchvision(n, channels); break;
    case Layout::timm: timm(n, channels); break;
    case Layout::keras: keras(n, channels); break;
    case Layout::huggingface: huggingface(n, channels); break;
    case Layout::lukemelas: lukemelas(n, channels); break;
    case Layout::fovea:
    case Layout::tfslim: break;
  }
  return n.take();
}

}  // namespace

LayerNames efficientnet_names(const Architecture&, const Options& o, Layout layout) {
  return names_of(o, layout, false);
}
LayerNames efficientnet_lite_names(const Architecture&, const Options& o, Layout layout) {
  return names_of(o, layout, true);
}

}  // namespace fovea::models
