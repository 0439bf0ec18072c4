// MobileNetV1's layers in other frameworks.
#include "models/mobilenet_v1.h"

#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

void keras(NameList& n, int blocks) {
  n.conv_bn_act("stem", "conv1", "conv1_bn", "conv1_relu");
  for (int block = 0; block < blocks; ++block) {
    const std::string ours = str("block_", block);
    const std::string depthwise = str("conv_dw_", block + 1), pointwise = str("conv_pw_", block + 1);
    n.conv_bn_act(ours + ".depthwise", depthwise, depthwise + "_bn", depthwise + "_relu", LayerKind::depthwise);
    n.conv_bn_act(ours + ".pointwise", pointwise, pointwise + "_bn", pointwise + "_relu");
  }
  n.plain("pool", "global_average_pooling2d");
  n.dense_as_convolution("classifier", "conv_preds");
}

void timm(NameList& n, const std::vector<int>& repeats) {
  n.conv_bn_act("stem", "conv_stem", "bn1");
  int block = 0;
  for (std::size_t stage = 0; stage < repeats.size(); ++stage) {
    for (int r = 0; r < repeats[stage]; ++r, ++block) {
      const std::string ours = str("block_", block), theirs = str("blocks.", stage, ".", r);
      n.conv_bn_act(ours + ".depthwise", theirs + ".conv_dw", theirs + ".bn1", {}, LayerKind::depthwise);
      n.conv_bn_act(ours + ".pointwise", theirs + ".conv_pw", theirs + ".bn2");
      n.plain(ours, theirs);
    }
    n.plain(str("block_", block - 1), str("blocks.", stage));
  }
  n.plain("pool", "global_pool");
  n.dense("classifier", "classifier");
}

void huggingface(NameList& n, int blocks) {
  const std::string root = "mobilenet_v1.";
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs + ".convolution", theirs + ".normalization", theirs + ".activation", kind);
    n.plain(ours, theirs);
  };
  layer("stem", root + "conv_stem");
  for (int block = 0; block < blocks; ++block) {
    layer(str("block_", block, ".depthwise"), str(root, "layer.", 2 * block), LayerKind::depthwise);
    layer(str("block_", block, ".pointwise"), str(root, "layer.", 2 * block + 1));
  }
  n.plain("pool", root + "pooler");
  n.plain("dropout", "dropout");
  n.dense("classifier", "classifier");
}

void tfslim(NameList& n, int blocks) {
  const std::string root = "MobilenetV1/";
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs, theirs + "/BatchNorm", theirs + "/Relu6", kind);
  };
  layer("stem", root + "Conv2d_0");
  for (int block = 0; block < blocks; ++block) {
    const std::string theirs = str(root, "Conv2d_", block + 1);
    layer(str("block_", block, ".depthwise"), theirs + "_depthwise", LayerKind::depthwise);
    layer(str("block_", block, ".pointwise"), theirs + "_pointwise");
  }
  n.dense_as_convolution("classifier", root + "Logits/Conv2d_1c_1x1");
}

}  // namespace

LayerNames mobilenet_v1_names(const Architecture&, const Options& o, Layout layout) {
  const std::vector<int> repeats = mobilenet_v1_repeats(o);
  int blocks = 0;
  for (const int count : repeats) blocks += count;
  NameList n;
  switch (layout) {
    case Layout::keras: keras(n, blocks); break;
    case Layout::timm: timm(n, repeats); break;
    case Layout::huggingface: huggingface(n, blocks); break;
    case Layout::tfslim: tfslim(n, blocks); break;
    case Layout::fovea:
    case Layout::torchvision:
    case Layout::lukemelas: break;
  }
  return n.take();
}

}  // namespace fovea::models
