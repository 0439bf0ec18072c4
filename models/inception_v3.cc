// Inception v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", table 1). Sizes are
// of a 299×299 picture; every convolution has a batch norm without gamma (but PyTorch's), epsilon 1e-3, and a ReLU.
//
//   conv_1a    3×3 s2    32   149×149     no padding
//   conv_2a    3×3       32   147×147     no padding
//   conv_2b    3×3       64   147×147
//   max_pool_1 3×3 s2          73×73
//   conv_3b    1×1       80    73×73
//   conv_4a    3×3      192    71×71      no padding
//   max_pool_2 3×3 s2          35×35
//   mixed_0, 1, 2       256, 288, 288     1×1 | 1×1 5×5 | 1×1 3×3 3×3 | pool 1×1
//   mixed_3             768    17×17      3×3 s2 | 1×1 3×3 3×3 s2 | max pool s2
//   mixed_4 … 7         768               1×1 | 1×1 1×7 7×1 | 1×1 7×1 1×7 7×1 1×7 | pool 1×1
//                                         with 128, 160, 160, 192 channels inside
//   mixed_8            1280     8×8       1×1 3×3 s2 | 1×1 1×7 7×1 3×3 s2 | max pool s2
//   mixed_9, 10        2048               1×1 | 1×1 (1×3, 3×1) | 1×1 3×3 (1×3, 3×1) | pool 1×1
//   pool, dropout, classifier
//
// The auxiliary classifier helped training from nothing only, and is left out. PyTorch's average pools count the zeros
// around the picture, TensorFlow's do not.
#include "models/inception_v3.h"

#include "models/blocks.h"

namespace fovea::models {
namespace {

struct Style {
  BatchNormOptions norm;
  bool scale = true;
  bool count_padding = true;
};

ConvBnAct conv(int in, const InceptionStep& s, bool padded, const Style& style) {
  return ConvBnAct(in, s.channels,
                   {.kernel = Extent(s.kh, s.kw),
                    .stride = s.stride,
                    .padding = padded ? Padding::symmetric((s.kh - 1) / 2, (s.kw - 1) / 2) : Padding::valid(),
                    .scale = style.scale,
                    .norm = style.norm,
                    .weight_init = init::pytorch::trunc_normal(0, 0.1)});
}

int add_step(Sequential& to, const std::string& name, int in, const InceptionStep& s, const Style& style) {
  switch (s.op) {
    case InceptionOp::conv: to.add(name, conv(in, s, s.stride == 1, style)); return s.channels;
    case InceptionOp::max_pool: to.add(name, MaxPool2d(3, {.stride = 2})); return in;
    case InceptionOp::average_pool:
      to.add(name, AvgPool2d(3, {.stride = 1, .padding = 1, .count_include_pad = style.count_padding}));
      return in;
  }
  return in;
}

/// Appends the block and returns its channels. Children "branch_0", …, each a chain "0", "1", … with, where it forks at
/// the end, "fork".
int add_block(Sequential& net, const std::string& name, int in, const InceptionBlock& block, const Style& style) {
  auto joined = std::make_shared<Branch>(Join::concat);
  int out = 0;
  for (std::size_t b = 0; b < block.branches.size(); ++b) {
    const InceptionBranch& branch = block.branches[b];
    Sequential chain;
    int channels = in, number = 0;
    for (const InceptionStep& s : branch.steps)
      channels = add_step(chain, std::to_string(number++), channels, s, style);
    if (!branch.fork.empty()) {
      auto fork = std::make_shared<Branch>(Join::concat);
      int sum = 0;
      for (const InceptionStep& s : branch.fork) {
        fork->add(conv(channels, s, true, style));
        sum += s.channels;
      }
      chain.add("fork", std::move(fork));
      channels = sum;
    }
    joined->add(str("branch_", b), std::move(chain));
    out += channels;
  }
  net.add(name, std::move(joined));
  return out;
}

constexpr InceptionStep kMaxPool{.op = InceptionOp::max_pool, .stride = 2};
constexpr InceptionStep kAveragePool{.op = InceptionOp::average_pool};

constexpr InceptionStep step(int kh, int kw, int channels, const char* torch, const char* slim, int stride = 1) {
  return {InceptionOp::conv, kh, kw, channels, stride, torch, slim};
}

/// `first` and `second`: TF-slim names one block's 5×5 branch otherwise.
InceptionBlock block_a(const char* name, int pooled, const char* first, const char* second) {
  return {
      name,
      {{.steps = {step(1, 1, 64, "branch1x1", "Conv2d_0a_1x1")}},
       {.steps = {step(1, 1, 48, "branch5x5_1", first), step(5, 5, 64, "branch5x5_2", second)}},
       {.steps = {step(1, 1, 64, "branch3x3dbl_1", "Conv2d_0a_1x1"), step(3, 3, 96, "branch3x3dbl_2", "Conv2d_0b_3x3"),
                  step(3, 3, 96, "branch3x3dbl_3", "Conv2d_0c_3x3")}},
       {.steps = {kAveragePool, step(1, 1, pooled, "branch_pool", "Conv2d_0b_1x1")}}}};
}

InceptionBlock block_b(const char* name) {
  return {
      name,
      {{.steps = {step(3, 3, 384, "branch3x3", "Conv2d_1a_1x1", 2)}},
       {.steps = {step(1, 1, 64, "branch3x3dbl_1", "Conv2d_0a_1x1"), step(3, 3, 96, "branch3x3dbl_2", "Conv2d_0b_3x3"),
                  step(3, 3, 96, "branch3x3dbl_3", "Conv2d_1a_1x1", 2)}},
       {.steps = {kMaxPool}}}};
}

InceptionBlock block_c(const char* name, int inner) {
  return {
      name,
      {{.steps = {step(1, 1, 192, "branch1x1", "Conv2d_0a_1x1")}},
       {.steps = {step(1, 1, inner, "branch7x7_1", "Conv2d_0a_1x1"), step(1, 7, inner, "branch7x7_2", "Conv2d_0b_1x7"),
                  step(7, 1, 192, "branch7x7_3", "Conv2d_0c_7x1")}},
       {.steps = {step(1, 1, inner, "branch7x7dbl_1", "Conv2d_0a_1x1"),
                  step(7, 1, inner, "branch7x7dbl_2", "Conv2d_0b_7x1"),
                  step(1, 7, inner, "branch7x7dbl_3", "Conv2d_0c_1x7"),
                  step(7, 1, inner, "branch7x7dbl_4", "Conv2d_0d_7x1"),
                  step(1, 7, 192, "branch7x7dbl_5", "Conv2d_0e_1x7")}},
       {.steps = {kAveragePool, step(1, 1, 192, "branch_pool", "Conv2d_0b_1x1")}}}};
}

InceptionBlock block_d(const char* name) {
  return {
      name,
      {{.steps = {step(1, 1, 192, "branch3x3_1", "Conv2d_0a_1x1"), step(3, 3, 320, "branch3x3_2", "Conv2d_1a_3x3", 2)}},
       {.steps = {step(1, 1, 192, "branch7x7x3_1", "Conv2d_0a_1x1"), step(1, 7, 192, "branch7x7x3_2", "Conv2d_0b_1x7"),
                  step(7, 1, 192, "branch7x7x3_3", "Conv2d_0c_7x1"),
                  step(3, 3, 192, "branch7x7x3_4", "Conv2d_1a_3x3", 2)}},
       {.steps = {kMaxPool}}}};
}

/// `tall`: the 3×1 convolution of the first fork, which TF-slim names in two ways.
InceptionBlock block_e(const char* name, const char* tall) {
  return {name,
          {{.steps = {step(1, 1, 320, "branch1x1", "Conv2d_0a_1x1")}},
           {.steps = {step(1, 1, 384, "branch3x3_1", "Conv2d_0a_1x1")},
            .fork = {step(1, 3, 384, "branch3x3_2a", "Conv2d_0b_1x3"), step(3, 1, 384, "branch3x3_2b", tall)}},
           {.steps = {step(1, 1, 448, "branch3x3dbl_1", "Conv2d_0a_1x1"),
                      step(3, 3, 384, "branch3x3dbl_2", "Conv2d_0b_3x3")},
            .fork = {step(1, 3, 384, "branch3x3dbl_3a", "Conv2d_0c_1x3"),
                     step(3, 1, 384, "branch3x3dbl_3b", "Conv2d_0d_3x1")}},
           {.steps = {kAveragePool, step(1, 1, 192, "branch_pool", "Conv2d_0b_1x1")}}}};
}

}  // namespace

std::vector<InceptionBlock> inception_blocks() {
  return {block_a("Mixed_5b", 32, "Conv2d_0a_1x1", "Conv2d_0b_5x5"),
          block_a("Mixed_5c", 64, "Conv2d_0b_1x1", "Conv_1_0c_5x5"),
          block_a("Mixed_5d", 64, "Conv2d_0a_1x1", "Conv2d_0b_5x5"),
          block_b("Mixed_6a"),
          block_c("Mixed_6b", 128),
          block_c("Mixed_6c", 160),
          block_c("Mixed_6d", 160),
          block_c("Mixed_6e", 192),
          block_d("Mixed_7a"),
          block_e("Mixed_7b", "Conv2d_0b_3x1"),
          block_e("Mixed_7c", "Conv2d_0c_3x1")};
}

Model inception_v3(const Architecture&, const Options& o) {
  const bool tensorflow = o.layout == Layout::keras || o.layout == Layout::tfslim;
  Style style{.norm = conventions(o).norm, .scale = !tensorflow, .count_padding = !tensorflow};
  style.norm.epsilon = 1e-3;
  Sequential net;
  const auto stem = [&](const char* name, int in, int kernel, int out, int stride, bool padded) {
    net.add(name, conv(in, {.kh = kernel, .kw = kernel, .channels = out, .stride = stride}, padded, style));
  };
  stem("conv_1a", o.channels, 3, 32, 2, false);
  stem("conv_2a", 32, 3, 32, 1, false);
  stem("conv_2b", 32, 3, 64, 1, true);
  net.add("max_pool_1", MaxPool2d(3, {.stride = 2}));
  stem("conv_3b", 64, 1, 80, 1, false);
  stem("conv_4a", 80, 3, 192, 1, false);
  net.add("max_pool_2", MaxPool2d(3, {.stride = 2}));
  int channels = 192, number = 0;
  for (const InceptionBlock& block : inception_blocks())
    channels = add_block(net, str("mixed_", number++), channels, block, style);
  add_top(net, channels, tensorflow ? 0.2 : 0.5, o);
  Model model(std::move(net));
  model.preprocessing = preprocessing(o, o.image_size);
  // torchvision's weights are TensorFlow's: it normalises as ImageNet's and turns that into −1 … 1 in the network
  // (transform_input), which is left out here.
  model.preprocessing.mean = model.preprocessing.std = {0.5f, 0.5f, 0.5f};
  if (tensorflow) model.preprocessing.mean = model.preprocessing.std = {1, 1, 1};
  return model;
}

}  // namespace fovea::models
