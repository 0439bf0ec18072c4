// The ResNets' layers in other frameworks.
#include "models/resnet.h"
#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

/// Calls block(ours, stage, number in the stage, whether it has a convolution in its shortcut) for every block.
template <class Fn>
void each_block(const ResNetPlan& plan, Fn&& block) {
  int number = 0;
  for (int stage = 0; stage < 4; ++stage) {
    const int count = plan.repeats[static_cast<std::size_t>(stage)];
    for (int r = 0; r < count; ++r) block(str("block_", number++), stage, r, r == 0 && (stage > 0 || plan.bottleneck));
  }
}

/// torchvision's modules and timm's have the same names but for activations and the pool.
void pytorch(NameList& n, const ResNetPlan& plan, bool timm) {
  n.conv_bn_act("stem", "conv1", "bn1", timm ? "act1" : "relu");
  n.plain("max_pool", "maxpool");
  const int convs = plan.bottleneck ? 3 : 2;
  each_block(plan, [&](const std::string& ours, int stage, int r, bool shortcut) {
    const std::string theirs = str("layer", stage + 1, ".", r);
    for (int i = 1; i <= convs; ++i) {
      const std::string conv = str(ours, ".conv", i);
      n.conv(conv + ".conv", str(theirs, ".conv", i));
      n.norm(conv + ".bn", str(theirs, ".bn", i));
      if (timm) n.plain(i < convs ? conv : ours, str(theirs, ".act", i));
    }
    if (shortcut) {
      n.conv_bn_act(ours + ".shortcut", theirs + ".downsample.0", theirs + ".downsample.1");
      n.plain(ours + ".shortcut", theirs + ".downsample");
    }
    if (!timm) n.plain(ours, theirs + ".relu");  // one module for all of the block: its last result
    n.plain(ours, theirs);
    n.plain(ours, str("layer", stage + 1));
  });
  n.plain("pool", timm ? "global_pool" : "avgpool");
  n.dense("classifier", "fc");
}

void keras(NameList& n, const ResNetPlan& plan) {
  n.conv_bn_act("stem", "conv1_conv", "conv1_bn", "conv1_relu");
  n.plain("max_pool", "pool1_pool");
  each_block(plan, [&](const std::string& ours, int stage, int r, bool shortcut) {
    const std::string theirs = str("conv", stage + 2, "_block", r + 1, "_");
    n.conv_bn_act(ours + ".conv1", theirs + "1_conv", theirs + "1_bn", theirs + "1_relu");
    n.conv_bn_act(ours + ".conv2", theirs + "2_conv", theirs + "2_bn", theirs + "2_relu");
    // Keras orders layers by their distance from the end, and the shortcut is add's first input.
    if (shortcut) n.conv_bn_act(ours + ".shortcut", theirs + "0_conv", theirs + "0_bn");
    n.conv_bn_act(ours + ".conv3", theirs + "3_conv", theirs + "3_bn");
    n.plain(ours, theirs + "out");
  });
  n.plain("pool", "avg_pool");
  n.dense("classifier", "predictions");
}

void huggingface(NameList& n, const ResNetPlan& plan) {
  const auto layer = [&](const std::string& ours, const std::string& theirs, bool activated) {
    n.conv_bn_act(ours, theirs + ".convolution", theirs + ".normalization", activated ? theirs + ".activation" : "");
    n.plain(ours, theirs);
  };
  layer("stem", "resnet.embedder.embedder", true);
  n.plain("max_pool", "resnet.embedder.pooler");
  n.plain("max_pool", "resnet.embedder");
  const int convs = plan.bottleneck ? 3 : 2;
  each_block(plan, [&](const std::string& ours, int stage, int r, bool shortcut) {
    const std::string theirs = str("resnet.encoder.stages.", stage, ".layers.", r);
    if (shortcut) layer(ours + ".shortcut", theirs + ".shortcut", false);
    for (int i = 0; i < convs; ++i) layer(str(ours, ".conv", i + 1), str(theirs, ".layer.", i), i + 1 < convs);
    n.plain(ours, theirs + ".activation");
    n.plain(ours, theirs);
    n.plain(ours, str("resnet.encoder.stages.", stage));
  });
  n.plain("pool", "resnet.pooler");
  n.dense("classifier", "classifier.1");
}

}  // namespace

LayerNames resnet_names(const Architecture& a, const Options&, Layout layout) {
  const ResNetPlan plan = resnet_plan(a);
  NameList n;
  switch (layout) {
    case Layout::torchvision: pytorch(n, plan, false); break;
    case Layout::timm: pytorch(n, plan, true); break;
    case Layout::keras: keras(n, plan); break;
    case Layout::huggingface: huggingface(n, plan); break;
    case Layout::fovea:
    case Layout::tfslim:
    case Layout::lukemelas: break;
  }
  return n.take();
}

}  // namespace fovea::models
