// MobileNetV2's layers in other frameworks.
#include "models/mobilenet_v2.h"
#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

void torchvision(NameList& n, const std::vector<int>& repeats) {
  n.conv_bn_act("stem", "features.0.0", "features.0.1", "features.0.2");
  n.plain("stem", "features.0");
  int block = 0;
  for (const int count : repeats) {
    for (int r = 0; r < count; ++r, ++block) {
      const std::string ours = str("block_", block), theirs = str("features.", block + 1);
      const std::string conv = theirs + ".conv.";
      int next = 0;
      const auto conv_bn_act = [&](const char* part, LayerKind kind) {
        const std::string at = str(conv, next++);
        n.conv_bn_act(str(ours, ".", part), at + ".0", at + ".1", at + ".2", kind);
        n.plain(str(ours, ".", part), at);
      };
      if (block > 0) conv_bn_act("expand", LayerKind::conv);
      conv_bn_act("depthwise", LayerKind::depthwise);
      n.conv_bn_act(ours + ".project", str(conv, next), str(conv, next + 1));
      n.plain(ours, theirs);
    }
  }
  const std::string head = str("features.", block + 1);
  n.conv_bn_act("head", head + ".0", head + ".1", head + ".2");
  n.plain("head", head);
  n.plain("head", "features");
  n.plain("dropout", "classifier.0");
  n.dense("classifier", "classifier.1");
}

void timm(NameList& n, const std::vector<int>& repeats) {
  n.conv_bn_act("stem", "conv_stem", "bn1");
  int block = 0;
  for (std::size_t stage = 0; stage < repeats.size(); ++stage) {
    for (int r = 0; r < repeats[stage]; ++r, ++block) {
      const std::string ours = str("block_", block), theirs = str("blocks.", stage, ".", r);
      const bool expand = stage > 0;
      if (expand) n.conv_bn_act(ours + ".expand", theirs + ".conv_pw", theirs + ".bn1");
      n.conv_bn_act(ours + ".depthwise", theirs + ".conv_dw", theirs + (expand ? ".bn2" : ".bn1"), {},
                    LayerKind::depthwise);
      n.conv_bn_act(ours + ".project", theirs + (expand ? ".conv_pwl" : ".conv_pw"),
                    theirs + (expand ? ".bn3" : ".bn2"));
      n.plain(ours, theirs);
    }
    n.plain(str("block_", block - 1), str("blocks.", stage));
  }
  n.conv_bn_act("head", "conv_head", "bn2");
  n.plain("pool", "global_pool");
  n.dense("classifier", "classifier");
}

void keras(NameList& n, const std::vector<int>& repeats) {
  n.conv_bn_act("stem", "Conv1", "bn_Conv1", "Conv1_relu");
  int block = 0;
  for (const int count : repeats) {
    for (int r = 0; r < count; ++r, ++block) {
      const std::string ours = str("block_", block);
      const std::string theirs = block == 0 ? "expanded_conv_" : str("block_", block, "_");
      if (block > 0) {
        n.conv_bn_act(ours + ".expand", theirs + "expand", theirs + "expand_BN", theirs + "expand_relu");
      }
      n.conv_bn_act(ours + ".depthwise", theirs + "depthwise", theirs + "depthwise_BN", theirs + "depthwise_relu",
                    LayerKind::depthwise);
      n.conv_bn_act(ours + ".project", theirs + "project", theirs + "project_BN");
      if (r > 0) n.plain(ours, theirs + "add");
    }
  }
  n.conv_bn_act("head", "Conv_1", "Conv_1_bn", "out_relu");
  n.plain("pool", "global_average_pooling2d");
  n.dense("classifier", "predictions");
  n.also("classifier", "Logits");  // before Keras 2.2.5
}

void huggingface(NameList& n, const std::vector<int>& repeats) {
  const std::string root = "mobilenet_v2.";
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs + ".convolution", theirs + ".normalization", theirs + ".activation", kind);
    n.plain(ours, theirs);
  };
  layer("stem", root + "conv_stem.first_conv");
  layer("block_0.depthwise", root + "conv_stem.conv_3x3", LayerKind::depthwise);
  layer("block_0.project", root + "conv_stem.reduce_1x1");
  n.plain("block_0", root + "conv_stem");
  int blocks = 0;
  for (const int count : repeats) blocks += count;
  for (int block = 1; block < blocks; ++block) {
    const std::string ours = str("block_", block), theirs = str(root, "layer.", block - 1);
    layer(ours + ".expand", theirs + ".expand_1x1");
    layer(ours + ".depthwise", theirs + ".conv_3x3", LayerKind::depthwise);
    layer(ours + ".project", theirs + ".reduce_1x1");
    n.plain(ours, theirs);
  }
  layer("head", root + "conv_1x1");
  n.plain("pool", root + "pooler");
  n.plain("dropout", "dropout");
  n.dense("classifier", "classifier");
}

void tfslim(NameList& n, const std::vector<int>& repeats) {
  const std::string root = "MobilenetV2/";
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs, theirs + "/BatchNorm", theirs + "/Relu6", kind);
  };
  layer("stem", root + "Conv");
  int block = 0;
  for (const int count : repeats) {
    for (int r = 0; r < count; ++r, ++block) {
      const std::string ours = str("block_", block);
      const std::string theirs = block == 0 ? root + "expanded_conv" : str(root, "expanded_conv_", block);
      if (block > 0) layer(ours + ".expand", theirs + "/expand");
      layer(ours + ".depthwise", theirs + "/depthwise", LayerKind::depthwise);
      layer(ours + ".project", theirs + "/project");
      n.plain(ours, theirs);
    }
  }
  layer("head", root + "Conv_1");
  n.dense_as_convolution("classifier", root + "Logits/Conv2d_1c_1x1");
}

}  // namespace

LayerNames mobilenet_v2_names(const Architecture& a, const Options& o, Layout layout) {
  const std::vector<int> repeats = mobilenet_v2_repeats(a, o);
  NameList n;
  switch (layout) {
    case Layout::torchvision: torchvision(n, repeats); break;
    case Layout::timm: timm(n, repeats); break;
    case Layout::keras: keras(n, repeats); break;
    case Layout::huggingface: huggingface(n, repeats); break;
    case Layout::tfslim: tfslim(n, repeats); break;
    case Layout::fovea:
    case Layout::lukemelas: break;
  }
  return n.take();
}

}  // namespace fovea::models
