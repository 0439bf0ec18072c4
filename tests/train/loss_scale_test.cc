// The rule of the loss scale, on the CPU; its use in f16 is in tests/cuda/half_network_test.cc.
#include "train/loss_scale.h"

#include <limits>

#include "catch.h"
#include "core/error.h"

using namespace fovea;

namespace {

struct Net {
  std::vector<NamedTensor> parameters;
  explicit Net(std::vector<float> gradient = {8, -4}) {
    Tensor p(Shape{2});
    p.zero();
    p.set_grad(Tensor::from(Shape{2}, gradient));
    parameters.push_back({"weight", p});
  }
  std::vector<float> gradient() const { return parameters[0].tensor.grad().to_vector<float>(); }
};

constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("finite gradients are divided by the scale and the number of batches") {
  LossScale scale({.scale = 4});
  Net net;
  CHECK(scale.unscale(net.parameters));
  CHECK(net.gradient() == std::vector<float>{2, -1});
  CHECK(scale.unscale(net.parameters, 2));
  CHECK(net.gradient() == std::vector<float>{0.25f, -0.125f});
  CHECK(scale.state().good_steps == 2);
  CHECK(scale.scale() == 4);
}

TEST_CASE("the scale starts at 65536, is halved by what is not finite, and doubled by 2000 good steps") {
  LossScale scale;
  CHECK(scale.scale() == 65536);
  Net good;
  for (int i = 0; i < 1999; ++i) REQUIRE(scale.unscale(good.parameters));
  for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    const double before = scale.scale();
    Net net({1, bad});
    CHECK_FALSE(scale.unscale(net.parameters));
    CHECK(net.gradient()[0] == 1);
    CHECK(scale.scale() == before / 2);
    CHECK(scale.state().good_steps == 0);
  }
  CHECK(scale.state().skipped == 3);
  for (int i = 0; i < 1999; ++i) REQUIRE(scale.unscale(good.parameters));
  CHECK(scale.scale() == 8192);
  CHECK(scale.unscale(good.parameters));
  CHECK(scale.scale() == 16384);
  CHECK(scale.state().good_steps == 0);
}

TEST_CASE("gradients that no scale makes finite are an error that names one") {
  LossScale scale({.scale = 2 * LossScale::kLeast});
  Net net({1, kInf});
  CHECK_FALSE(scale.unscale(net.parameters));
  try {
    scale.unscale(net.parameters);
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::numeric);
    CHECK(std::string(e.what()).find("gradient of weight") != std::string::npos);
  }
}

TEST_CASE("a loss scale's seed is the scale times a share, and its state goes on") {
  LossScale scale({.scale = 8, .good_steps = 1999, .skipped = 4});
  const Tensor loss = Tensor::scalar(3.0f), seed = scale.seed(loss);
  CHECK(seed.item() == 8);
  CHECK(scale.seed(loss).is(seed));
  CHECK(scale.seed(loss, 0.25).item() == 2);
  Net net;
  CHECK(scale.unscale(net.parameters));
  CHECK(scale.seed(loss).item() == 16);
  CHECK(scale.state().skipped == 4);
  for (const LossScale::State bad :
       {LossScale::State{3, 0, 0}, LossScale::State{0, 0, 0}, LossScale::State{-4, 0, 0},
        LossScale::State{static_cast<double>(kInf), 0, 0}, LossScale::State{4, 2000, 0}, LossScale::State{4, 0, -1}})
    CHECK_THROWS_AS(LossScale(bad), Error);
}
