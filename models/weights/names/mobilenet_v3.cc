// MobileNetV3's layers in other frameworks.
#include "models/mobilenet_v3.h"

#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

void torchvision(NameList& n, const MobileNetV3Sizes& sizes) {
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs + ".0", theirs + ".1", theirs + ".2", kind);
    n.plain(ours, theirs);
  };
  layer("stem", "features.0");
  int block = 0;
  for (const MobileNetV3Block& b : sizes.blocks) {
    const std::string ours = str("block_", block), theirs = str("features.", ++block);
    int next = 0;
    const auto part = [&] { return str(theirs, ".block.", next++); };
    if (b.expand) layer(ours + ".expand", part());
    layer(ours + ".depthwise", part(), LayerKind::depthwise);
    if (b.squeezed > 0) {
      const std::string se = part();
      n.squeeze_excite(ours, se + ".fc1", se + ".fc2");
      n.plain(ours + ".se", se);
    }
    const std::string project = part();
    n.conv_bn_act(ours + ".project", project + ".0", project + ".1");
    n.plain(ours + ".project", project);
    n.plain(ours, theirs);
  }
  layer("head", str("features.", block + 1));
  n.plain("head", "features");
  n.plain("pool", "avgpool");
  n.dense("hidden", "classifier.0");
  n.plain("hidden", "classifier.1");
  n.plain("dropout", "classifier.2");
  n.dense("classifier", "classifier.3");
}

void timm(NameList& n, const MobileNetV3Sizes& sizes) {
  n.conv_bn_act("stem", "conv_stem", "bn1");
  int block = 0, stage = 0, in_stage = 0;
  for (const MobileNetV3Block& b : sizes.blocks) {
    if (b.stage != stage) {
      n.plain(str("block_", block - 1), str("blocks.", stage));
      stage = b.stage;
      in_stage = 0;
    }
    const std::string ours = str("block_", block++), theirs = str("blocks.", stage, ".", in_stage++);
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
  }
  n.plain(str("block_", block - 1), str("blocks.", stage));
  const std::string head = str("blocks.", stage + 1);
  n.conv_bn_act("head", head + ".0.conv", head + ".0.bn1");
  n.plain("head", head + ".0");
  n.plain("head", head);
  n.plain("pool", "global_pool");
  n.dense_as_convolution("hidden", "conv_head");
  n.plain("hidden", "act2");
  n.dense("classifier", "classifier");
}

/// Keras' names of layers that were given none: "re_lu", "re_lu_1", …
class Numbered {
 public:
  explicit Numbered(std::string base) : base_(std::move(base)) {}
  std::string next() {
    const int i = count_++;
    return i == 0 ? base_ : str(base_, "_", i);
  }

 private:
  std::string base_;
  int count_ = 0;
};

/// Layers were "expanded_conv_1/expand" and "expanded_conv_1/expand/BatchNorm" in Keras 2, "expanded_conv_1_expand" and
/// "expanded_conv_1_expand_bn" since.
void keras(NameList& n, const MobileNetV3Sizes& sizes) {
  Numbered relu("re_lu"), hard_swish("activation");
  const auto layer = [&](const std::string& ours, const std::string& theirs, const std::string& older,
                         const std::string& activation, LayerKind kind = LayerKind::conv) {
    n.conv_bn_act(ours, theirs, theirs + "_bn", activation, kind);
    n.also(ours + ".conv", older);
    n.also(ours + ".bn", older + "/BatchNorm");
  };
  n.plain("rescaling", "rescaling");
  layer("stem", "conv", "Conv", hard_swish.next());
  int block = 0;
  for (const MobileNetV3Block& b : sizes.blocks) {
    const std::string ours = str("block_", block);
    const std::string root = block == 0 ? "expanded_conv" : str("expanded_conv_", block);
    const auto activation = [&] { return b.hard_swish ? hard_swish.next() : relu.next(); };
    const auto part = [&](const char* name, const std::string& act, LayerKind kind = LayerKind::conv) {
      layer(str(ours, ".", name), str(root, "_", name), str(root, "/", name), act, kind);
    };
    if (b.expand) part("expand", activation());
    part("depthwise", activation(), LayerKind::depthwise);
    if (b.squeezed > 0) {
      const std::string se = root + "_squeeze_excite_", older = root + "/squeeze_excite/";
      n.squeeze_excite(ours, se + "conv", se + "conv_1");
      n.also(ours + ".se.reduce", older + "Conv");
      n.also(ours + ".se.expand", older + "Conv_1");
      n.plain(ours + ".se.reduce", se + "relu");
      n.plain(ours + ".se", se + "mul");
      relu.next();  // of the hard sigmoid
    }
    part("project", {});
    if (b.shortcut()) n.plain(ours, root + "_add");
    ++block;
  }
  layer("head", "conv_1", "Conv_1", hard_swish.next());
  n.plain("pool", "global_average_pooling2d");
  n.dense_as_convolution("hidden", "conv_2");
  n.also("hidden", "Conv_2");
  n.plain("hidden", hard_swish.next());
  n.dense_as_convolution("classifier", "logits");
  n.also("classifier", "Logits");
}

void tfslim(NameList& n, const MobileNetV3Sizes& sizes) {
  const std::string root = "MobilenetV3/";
  const auto layer = [&](const std::string& ours, const std::string& theirs, LayerKind kind = LayerKind::conv) {
    n.conv_bn(ours, theirs, theirs + "/BatchNorm", kind);
  };
  layer("stem", root + "Conv");
  int block = 0;
  for (const MobileNetV3Block& b : sizes.blocks) {
    const std::string ours = str("block_", block);
    const std::string theirs = block == 0 ? root + "expanded_conv" : str(root, "expanded_conv_", block);
    if (b.expand) layer(ours + ".expand", theirs + "/expand");
    layer(ours + ".depthwise", theirs + "/depthwise", LayerKind::depthwise);
    if (b.squeezed > 0) n.squeeze_excite(ours, theirs + "/squeeze_excite/Conv", theirs + "/squeeze_excite/Conv_1");
    layer(ours + ".project", theirs + "/project");
    n.plain(ours, theirs);
    ++block;
  }
  layer("head", root + "Conv_1");
  n.dense_as_convolution("hidden", root + "Conv_2");
  n.dense_as_convolution("classifier", root + "Logits/Conv2d_1c_1x1");
}

}  // namespace

LayerNames mobilenet_v3_names(const Architecture& a, const Options& o, Layout layout) {
  const MobileNetV3Sizes sizes = mobilenet_v3_sizes(a, o);
  NameList n;
  switch (layout) {
    case Layout::torchvision: torchvision(n, sizes); break;
    case Layout::timm: timm(n, sizes); break;
    case Layout::keras: keras(n, sizes); break;
    case Layout::tfslim: tfslim(n, sizes); break;
    case Layout::fovea:
    case Layout::huggingface:
    case Layout::lukemelas: break;
  }
  return n.take();
}

}  // namespace fovea::models
