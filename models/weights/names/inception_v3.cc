// Inception v3's layers in other frameworks.
#include "models/inception_v3.h"

#include <algorithm>

#include "models/weights/names/names.h"

namespace fovea::models {
namespace {

/// "mixed_3.branch_1.0", or ".fork.0".
std::string path(std::size_t block, std::size_t branch, std::size_t step, bool fork = false) {
  return str("mixed_", block, ".branch_", branch, fork ? ".fork." : ".", step);
}

void pytorch(NameList& n, bool timm) {
  const auto layer = [&](const std::string& ours, const std::string& theirs) {
    n.conv(ours + ".conv", theirs + ".conv");
    n.norm(ours + ".bn", theirs + ".bn");
    if (timm) n.plain(ours, theirs + ".bn");  // its norm holds the activation
    n.plain(ours, theirs);
  };
  layer("conv_1a", "Conv2d_1a_3x3");
  layer("conv_2a", "Conv2d_2a_3x3");
  layer("conv_2b", "Conv2d_2b_3x3");
  n.plain("max_pool_1", timm ? "Pool1" : "maxpool1");
  layer("conv_3b", "Conv2d_3b_1x1");
  layer("conv_4a", "Conv2d_4a_3x3");
  n.plain("max_pool_2", timm ? "Pool2" : "maxpool2");
  const std::vector<InceptionBlock> blocks = inception_blocks();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t b = 0; b < blocks[i].branches.size(); ++b) {
      const InceptionBranch& branch = blocks[i].branches[b];
      for (std::size_t s = 0; s < branch.steps.size(); ++s) {
        if (branch.steps[s].op == InceptionOp::conv)
          layer(path(i, b, s), blocks[i].torch + "." + branch.steps[s].torch);
      }
      for (std::size_t s = 0; s < branch.fork.size(); ++s)
        layer(path(i, b, s, true), blocks[i].torch + "." + branch.fork[s].torch);
    }
    n.plain(str("mixed_", i), blocks[i].torch);
  }
  n.plain("pool", timm ? "global_pool" : "avgpool");
  n.plain("dropout", timm ? "head_drop" : "dropout");
  n.dense("classifier", "fc");
  n.ignore("AuxLogits.");
}

/// Keras numbers the layers of each class as they are created, and orders them by their distance from the end.
class KerasNames {
 public:
  explicit KerasNames(NameList& n) : n_(n) {}

  void conv(const std::string& ours) { emit({ours, 0, count_++}); }
  void max_pool(const std::string& ours) { n_.plain(ours, numbered("max_pooling2d", max_pools_++)); }

  void block(std::size_t i, const InceptionBlock& block) {
    std::vector<Layer> layers;
    for (std::size_t b = 0; b < block.branches.size(); ++b) {
      const InceptionBranch& branch = block.branches[b];
      // A convolution is three layers (with its norm and activation); the block's concatenation has depth 0.
      const int fork_depth = branch.fork.empty() ? 0 : 1 + 3;
      int depth = fork_depth;
      for (const InceptionStep& s : branch.steps) depth += s.op == InceptionOp::conv ? 3 : 1;
      for (std::size_t s = 0; s < branch.steps.size(); ++s) {
        switch (branch.steps[s].op) {
          case InceptionOp::conv:
            layers.push_back({path(i, b, s), depth, count_++});
            depth -= 3;
            break;
          case InceptionOp::max_pool: max_pool(path(i, b, s)); break;
          case InceptionOp::average_pool:
            n_.plain(path(i, b, s), numbered("average_pooling2d", average_pools_++));
            depth -= 1;
            break;
        }
      }
      for (std::size_t s = 0; s < branch.fork.size(); ++s)
        layers.push_back({path(i, b, s, true), fork_depth, count_++});
      if (branch.fork.empty()) continue;
      // The second fork of a block has no name of its own.
      const std::string fork = str("mixed_", i, ".branch_", b, ".fork");
      n_.plain(fork, b == 1 ? str("mixed9_", i - 9) : numbered("concatenate", concats_++));
    }
    std::stable_sort(layers.begin(), layers.end(), [](const Layer& x, const Layer& y) { return x.depth > y.depth; });
    for (const Layer& layer : layers) emit(layer);
    n_.plain(str("mixed_", i), str("mixed", i));
  }

 private:
  struct Layer {
    std::string ours;
    int depth, number;
  };
  static std::string numbered(const char* name, int number) { return number == 0 ? name : str(name, "_", number); }
  void emit(const Layer& l) {
    n_.conv_bn_act(l.ours, numbered("conv2d", l.number), numbered("batch_normalization", l.number),
                   numbered("activation", l.number));
  }

  NameList& n_;
  int count_ = 0, max_pools_ = 0, average_pools_ = 0, concats_ = 0;
};

void keras(NameList& n) {
  KerasNames names(n);
  for (const char* ours : {"conv_1a", "conv_2a", "conv_2b"}) names.conv(ours);
  names.max_pool("max_pool_1");
  for (const char* ours : {"conv_3b", "conv_4a"}) names.conv(ours);
  names.max_pool("max_pool_2");
  const std::vector<InceptionBlock> blocks = inception_blocks();
  for (std::size_t i = 0; i < blocks.size(); ++i) names.block(i, blocks[i]);
  n.plain("pool", "avg_pool");
  n.dense("classifier", "predictions");
}

void tfslim(NameList& n) {
  const std::string root = "InceptionV3/";
  const auto layer = [&](const std::string& ours, const std::string& theirs) {
    n.conv_bn_act(ours, theirs, theirs + "/BatchNorm", theirs + "/Relu");
  };
  layer("conv_1a", root + "Conv2d_1a_3x3");
  layer("conv_2a", root + "Conv2d_2a_3x3");
  layer("conv_2b", root + "Conv2d_2b_3x3");
  n.plain("max_pool_1", root + "MaxPool_3a_3x3");
  layer("conv_3b", root + "Conv2d_3b_1x1");
  layer("conv_4a", root + "Conv2d_4a_3x3");
  n.plain("max_pool_2", root + "MaxPool_5a_3x3");
  const std::vector<InceptionBlock> blocks = inception_blocks();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t b = 0; b < blocks[i].branches.size(); ++b) {
      const InceptionBranch& branch = blocks[i].branches[b];
      const std::string scope = str(root, blocks[i].torch, "/Branch_", b, "/");
      for (std::size_t s = 0; s < branch.steps.size(); ++s) {
        if (branch.steps[s].op == InceptionOp::conv) layer(path(i, b, s), scope + branch.steps[s].slim);
      }
      for (std::size_t s = 0; s < branch.fork.size(); ++s) layer(path(i, b, s, true), scope + branch.fork[s].slim);
    }
    n.plain(str("mixed_", i), root + blocks[i].torch);
  }
  n.dense_as_convolution("classifier", root + "Logits/Conv2d_1c_1x1");
  n.ignore(root + "AuxLogits/");
}

}  // namespace

LayerNames inception_v3_names(const Architecture&, const Options&, Layout layout) {
  NameList n;
  switch (layout) {
    case Layout::torchvision: pytorch(n, false); break;
    case Layout::timm: pytorch(n, true); break;
    case Layout::keras: keras(n); break;
    case Layout::tfslim: tfslim(n); break;
    case Layout::fovea:
    case Layout::huggingface:
    case Layout::lukemelas: break;
  }
  return n.take();
}

}  // namespace fovea::models
