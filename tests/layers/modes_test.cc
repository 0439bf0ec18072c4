// Gradient recording, training mode and batch-norm statistics updates are three separate, thread-local modes.
#include <atomic>
#include <barrier>
#include <cmath>
#include <thread>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/threads/parallel.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "support.h"

using namespace fovea;
using namespace fovea::test;

namespace {

/// Batch norm of two columns whose batch statistics are far from the running ones.
struct Norm {
  BatchNorm module{2};
  Tensor x = random({6, 2}, "x", 5, 9).to(DType::f32);

  std::vector<double> running() const {
    std::vector<double> all = module.tensor("running_mean").to_vector<double>();
    const std::vector<double> v = module.tensor("running_var").to_vector<double>();
    all.insert(all.end(), v.begin(), v.end());
    return all;
  }
  /// With batch statistics columns sum to 0; with running ones (0, 1) the result is almost x.
  static bool from_batch(const Tensor& y) {
    double total = 0;
    for (const float v : y.values<float>()) total += static_cast<double>(v);
    return std::fabs(total) < 1e-4;
  }
};

}  // namespace

TEST_CASE("recording, training and statistics updates combine freely") {
  for (int bits = 0; bits < 8; ++bits) {
    const bool record = bits & 1, train = bits & 2, update = bits & 4;
    CAPTURE(record, train, update);
    Norm norm;
    const std::vector<double> before = norm.running();
    std::optional<TrainingMode> training;
    if (train) training.emplace(TrainingMode::Options{.update_statistics = update});
    std::optional<Tape> tape;
    if (record) tape.emplace();
    CHECK(is_training() == train);
    CHECK(is_recording() == record);
    const Tensor y = norm.module(norm.x);
    CHECK(Norm::from_batch(y) == train);
    CHECK((norm.running() != before) == (train && update));
    if (record) CHECK(tape->size() == 1);
    if (train && update) {
      // 0.9·old + 0.1·batch, the variance with divisor n − 1.
      const auto x = norm.x.to_vector<double>();
      for (std::size_t c = 0; c < 2; ++c) {
        double m = 0, v = 0;
        for (std::size_t i = c; i < 12; i += 2) m += x[i] / 6;
        for (std::size_t i = c; i < 12; i += 2) v += (x[i] - m) * (x[i] - m) / 5;
        CHECK(norm.running()[c] == Approx(0.1 * m));
        CHECK(norm.running()[2 + c] == Approx(0.9 + 0.1 * v));
      }
    }
  }
}

TEST_CASE("guards of modes nest and give way in order") {
  Norm norm;
  Tape tape;
  const TrainingMode training;
  {
    const NoGrad no_grad;  // recording alone is off
    CHECK_FALSE(is_recording());
    CHECK(is_training());
    CHECK(Norm::from_batch(norm.module(norm.x)));
    CHECK(tape.size() == 0);
    { const NoGrad again; }
    CHECK_FALSE(is_recording());
  }
  CHECK(is_recording());
  {
    const InferenceMode inference;  // training alone is off
    CHECK(is_recording());
    CHECK_FALSE(is_training());
    const std::vector<double> before = norm.running();
    CHECK_FALSE(Norm::from_batch(norm.module(norm.x)));
    CHECK(norm.running() == before);
    CHECK(tape.size() == 1);
    {
      const TrainingMode inner({.update_statistics = false});
      CHECK(is_training());
      CHECK(Norm::from_batch(norm.module(norm.x)));
      CHECK(norm.running() == before);
    }
    CHECK_FALSE(is_training());
  }
  const std::vector<double> before = norm.running();
  norm.module(norm.x);
  CHECK(norm.running() != before);  // the outer mode's updates are on again
}

TEST_CASE("an error inside a pass leaves no mode behind") {
  try {
    const TrainingMode training;
    Tape tape;
    const NoGrad no_grad;
    Conv2d(3, 4)(Tensor::zeros({1, 5, 5, 2}));
    FAIL("no error");
  } catch (const Error&) {
  }
  CHECK_FALSE(is_training());
  CHECK_FALSE(is_recording());
  Tape tape;
  CHECK(is_recording());
}

TEST_CASE("modes belong to their thread: training and predicting at once do not meet") {
  // Each thread waits until all have set their mode, so that a shared flag would show.
  constexpr int kThreads = 4;
  std::barrier all_set(kThreads), all_done(kThreads);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const bool train = t % 2 == 1, record = t >= 2;
      Norm norm;
      const std::vector<double> before = norm.running();
      std::optional<TrainingMode> training;
      std::optional<Tape> tape;
      if (train) training.emplace(TrainingMode::Options{.update_statistics = record});
      if (record) tape.emplace();
      all_set.arrive_and_wait();
      bool right = is_training() == train && is_recording() == record;
      for (int i = 0; i < 20; ++i) right = right && Norm::from_batch(norm.module(norm.x)) == train;
      right = right && (norm.running() != before) == (train && record);
      right = right && (!record || tape->size() == 20);
      wrong += !right;
      all_done.arrive_and_wait();
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK_FALSE(is_training());
}

TEST_CASE("dropout's mask depends on seed, step and position in the pass only") {
  const Tensor x = Tensor::ones({1000});
  const auto pass = [&](std::uint64_t seed, std::uint64_t step, int threads = 1) {
    const int before = num_threads();
    set_num_threads(threads);
    const TrainingMode training({.seed = seed, .step = step});
    std::vector<Tensor> all;
    for (int i = 0; i < 3; ++i) all.push_back(dropout(x, 0.4));
    set_num_threads(before);
    return all;
  };
  const auto first = pass(1, 0), again = pass(1, 0, 2), other_seed = pass(2, 0), other_step = pass(1, 1);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(same_bits(first[i], again[i]));
    CHECK_FALSE(same_bits(first[i], other_seed[i]));
    CHECK_FALSE(same_bits(first[i], other_step[i]));
    CHECK_FALSE(same_bits(first[i], first[(i + 1) % 3]));
    int kept = 0;
    for (const float v : first[i].values<float>()) {
      CHECK((v == 0 || v == 1 / 0.6f));
      kept += v != 0;
    }
    CHECK(std::abs(kept - 600) < 5 * std::sqrt(1000 * 0.6 * 0.4));
  }
  // An inference pass inside draws nothing and moves no position.
  const TrainingMode training({.seed = 1, .step = 0});
  CHECK(same_bits(dropout(x, 0.4), first[0]));
  {
    const InferenceMode inference;
    CHECK(same_bits(dropout(x, 0.4), x));
  }
  CHECK(same_bits(dropout(x, 0.4), first[1]));
}

TEST_CASE("running statistics moved by a later pass do not change an earlier pass' gradient") {
  // The same frozen-statistics layer in inference mode, then a training pass over it, then backward of the first.
  const auto gradient = [](bool disturb) {
    Norm norm;
    Tensor x = norm.x.clone();
    x.set_requires_grad();
    Tape tape;
    const Tensor y = norm.module(x);
    if (disturb) {
      const NoGrad no_grad;
      const TrainingMode training;
      norm.module(norm.x);
    }
    tape.backward(sum(multiply(y, y)));
    return x.grad();
  };
  CHECK(same_bits(gradient(false), gradient(true)));
}
