// Gradients of convolutions over the full product of groups, stride, padding, sizes, bias and dilation.
#include "catch.h"
#include "layers/grad_check.h"
#include "layers/ops/conv2d.h"
#include "layers/ops/pool2d.h"
#include "support.h"

using namespace fovea;
using namespace fovea::test;

namespace {

struct Sweep {
  Conv2dParams params;
  std::int64_t h, w;
  bool bias;
  std::string name;
};

std::vector<Sweep> sweep(int channels) {
  std::vector<Sweep> all;
  for (const int groups : {1, 2, channels}) {
    for (const int stride : {1, 2}) {
      for (const bool symmetric : {true, false}) {
        for (const bool odd : {true, false}) {
          for (const bool bias : {true, false}) {
            for (const int dilation : {1, 2}) {
              Conv2dParams p;
              p.groups = groups;
              p.stride = {stride, stride};
              p.dilation = {dilation, dilation};
              p.padding = symmetric ? Padding::same_both(1) : Padding::sides(0, 1, 2, 1);
              all.push_back({p, odd ? 5 : 6, odd ? 7 : 4, bias,
                             str("groups ", groups, " stride ", stride, symmetric ? " symmetric" : " asymmetric",
                                 odd ? " odd" : " even", bias ? " bias" : " no bias", " dilation ", dilation)});
            }
          }
        }
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("conv2d gradients over the full product") {
  const OneThread one_thread;
  const int channels = 4;
  const auto all = sweep(channels);
  REQUIRE(all.size() == 96);
  for (const Sweep& s : all) {
    // Depthwise with multiplier 1 and, where biased, 2; 6 results otherwise.
    const std::int64_t out = s.params.groups == channels ? (s.bias ? 8 : 4) : 6;
    const Tensor x = random({2, s.h, s.w, channels}, "x"), w = random({3, 2, channels / s.params.groups, out}, "w"),
                 b = random({out}, "b");
    const auto report = check_gradients(
        [&](const std::vector<Tensor>& t) { return conv2d(t[0], t[1], s.bias ? t[2] : Tensor(), s.params); },
        s.bias ? std::vector<Tensor>{x, w, b} : std::vector<Tensor>{x, w}, {.names = {"x", "w", "bias"}});
    INFO(s.name << ": " << report.text);
    CHECK(report.ok);
    CHECK(report.checked == x.numel() + w.numel() + (s.bias ? out : 0));
  }
}

TEST_CASE("conv_transpose2d gradients over the full product") {
  const OneThread one_thread;
  const int channels = 4;
  for (const Sweep& s : sweep(channels)) {
    const std::int64_t out = s.params.groups == channels ? (s.bias ? 8 : 4) : 6;
    ConvTranspose2dParams p{s.params.stride, s.params.padding, s.params.dilation, {0, 0}, s.params.groups};
    if (s.params.stride.h == 2 && !s.bias) p.output_padding = {1, 0};
    const Tensor x = random({2, s.h - 2, s.w - 1, channels}, "x"),
                 w = random({3, 2, out / s.params.groups, channels}, "w"), b = random({out}, "b");
    const auto report = check_gradients(
        [&](const std::vector<Tensor>& t) { return conv_transpose2d(t[0], t[1], s.bias ? t[2] : Tensor(), p); },
        s.bias ? std::vector<Tensor>{x, w, b} : std::vector<Tensor>{x, w}, {.names = {"x", "w", "bias"}});
    INFO(s.name << ": " << report.text);
    CHECK(report.ok);
  }
}

TEST_CASE("conv2d gradients with TensorFlow's padding rule and empty batches") {
  const OneThread one_thread;
  for (const int stride : {1, 2, 3}) {
    for (const std::int64_t size : {5, 6, 7}) {
      const Conv2dParams p{.stride = {stride, stride}, .padding = Padding::tf_same()};
      const auto report = check_gradients([&](const std::vector<Tensor>& t) { return conv2d(t[0], t[1], {}, p); },
                                          {random({1, size, size + 1, 2}, "x"), random({3, 3, 2, 2}, "w")});
      INFO("stride " << stride << " size " << size << ": " << report.text);
      CHECK(report.ok);
    }
  }
  const auto report = check_gradients([](const std::vector<Tensor>& t) { return conv2d(t[0], t[1], t[2]); },
                                      {random({0, 5, 5, 2}, "x"), random({3, 3, 2, 2}, "w"), random({2}, "b")});
  INFO(report.text);
  CHECK(report.ok);
  CHECK(report.checked == 38);
}

TEST_CASE("only the wanted gradients of conv2d are computed") {
  const OneThread one_thread;
  Tensor x = random({1, 4, 4, 2}, "x"), w = random({3, 3, 2, 3}, "w"), b = random({3}, "b");
  // A frozen backbone: bias alone, input alone.
  for (int wanted = 0; wanted < 3; ++wanted) {
    std::vector<int> constants;
    for (int i = 0; i < 3; ++i) {
      if (i != wanted) constants.push_back(i);
    }
    const auto report =
        check_gradients([](const std::vector<Tensor>& t) { return conv2d(t[0], t[1], t[2], {}, {Activation::relu}); },
                        {x, w, b}, {.constants = constants});
    INFO(report.text);
    CHECK(report.ok);
  }
}

TEST_CASE("pooling gradients over window, stride, padding and ceil mode") {
  const OneThread one_thread;
  int count = 0;
  for (const Size2 window : {Size2{2, 2}, Size2{3, 3}, Size2{2, 3}}) {
    for (const Size2 stride : {Size2{1, 1}, Size2{2, 2}, Size2{3, 2}}) {
      for (const Padding& padding :
           {Padding::valid(), Padding::same_both(1), Padding::sides(0, 1, 1, 0), Padding::tf_same()}) {
        for (const bool ceil_mode : {false, true}) {
          for (const std::int64_t size : {5, 6}) {
            const Shape shape{2, size, size + 1, 3};
            const Pool2dParams p{.window = window, .stride = stride, .padding = padding, .ceil_mode = ceil_mode};
            const auto most = check_gradients([&](const std::vector<Tensor>& t) { return max_pool2d(t[0], p); },
                                              {distinct(shape, "x")});
            INFO("window " << window.h << "x" << window.w << " stride " << stride.h << "x" << stride.w << " padding "
                           << padding.top << padding.bottom << padding.left << padding.right << " ceil " << ceil_mode
                           << " size " << size);
            INFO(most.text);
            CHECK(most.ok);
            for (const bool include : {false, true}) {
              Pool2dParams q = p;
              q.count_include_pad = include;
              const auto mean = check_gradients([&](const std::vector<Tensor>& t) { return avg_pool2d(t[0], q); },
                                                {random(shape, "x")});
              INFO("include pad " << include << ": " << mean.text);
              CHECK(mean.ok);
            }
            ++count;
          }
        }
      }
    }
  }
  CHECK(count == 144);
  for (const Size2 size : {Size2{1, 1}, Size2{2, 3}, Size2{7, 5}}) {
    const auto report = check_gradients([&](const std::vector<Tensor>& t) { return adaptive_average_pool(t[0], size); },
                                        {random({2, 5, 6, 3}, "x")});
    INFO(report.text);
    CHECK(report.ok);
  }
}
