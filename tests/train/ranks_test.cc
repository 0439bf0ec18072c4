// Training on several ranks against training on one: equal batches, equal results.
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "catch.h"
#include "core/autograd/tape.h"
#include "core/rng.h"
#include "layers/ops.h"
#include "models/model.h"
#include "tests/model_distance.h"
#include "tests/ranks_options.h"
#include "tests/temp_folder.h"
#include "tests/thread_ranks.h"
#include "train/distributed/data_parallel_internal.h"
#include "train/distributed/mpi.h"
#include "train/evaluation.h"
#include "train/trainer.h"

using namespace fovea;
using fovea::test::run_ranks;

namespace {

constexpr int kClasses = 4;

/// Noise whose brightness tells the class; a share of the pictures cannot be read.
class Noise final : public Dataset {
 public:
  explicit Noise(std::int64_t n, std::uint64_t seed = 1, std::int64_t bad_every = 0)
      : size_(n), seed_(seed), bad_every_(bad_every) {}
  std::int64_t size() const override { return size_; }
  image::Image image(std::int64_t i) const override {
    if (bad_every_ > 0 && i % bad_every_ == 1) throw Error(ErrorKind::format, name(i), "is damaged");
    image::Image picture(12, 12, 3);
    Rng rng(seed_, "picture", static_cast<std::uint64_t>(i));
    for (auto& p : picture.pixels)
      p = static_cast<std::uint8_t>(rng.below(120) + static_cast<std::uint64_t>(30 * label(i)));
    return picture;
  }
  std::int64_t label(std::int64_t i) const override { return (i * 7 + i / 5) % kClasses; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(std::int64_t i) const override { return "noise#" + std::to_string(i); }

 private:
  std::int64_t size_;
  std::uint64_t seed_;
  std::int64_t bad_every_;
  std::vector<std::string> names_{"a", "b", "c", "d"};
};

Model network(const std::string& name = "small_cnn", std::uint64_t seed = 3) {
  return models::create(name, {.classes = kClasses, .image_size = 12, .channels = 3, .seed = seed});
}

const std::shared_ptr<Noise> kTrain = std::make_shared<Noise>(27);

struct Trained {
  Model model;
  History history;
  std::vector<std::string> warnings;
};

struct Warnings final : TrainObserver {
  explicit Warnings(std::vector<std::string>& list) : to(list) {}
  void on_warning(std::string_view text) override { to.emplace_back(text); }
  std::vector<std::string>& to;
};

using Change = std::function<void(TrainerOptions&, Communicator*)>;

Trained train(Communicator* ranks, const Change& change = {}, const DatasetPtr& data = kTrain,
              const DatasetPtr& val = nullptr, const std::string& name = "small_cnn", std::uint64_t seed = 3) {
  Trained t{network(name, seed), {}, {}};
  TrainerOptions o = test::ranks_options();
  o.ranks = ranks;
  Warnings warnings(t.warnings);
  o.observers = {&warnings};
  if (change) change(o, ranks);
  t.history = Trainer(t.model, o).fit(data, val);
  return t;
}

std::vector<Trained> train_on(int ranks, const Change& change = {}, const DatasetPtr& data = kTrain,
                              const DatasetPtr& val = nullptr, const std::string& name = "small_cnn") {
  std::vector<Trained> all(static_cast<std::size_t>(ranks));
  run_ranks(ranks, [&](Communicator& c) {
    // Another seed on every rank: rank 0's network is what all begin with.
    all[static_cast<std::size_t>(c.rank())] =
        train(&c, change, data, val, name, c.rank() == 0 ? 3 : static_cast<std::uint64_t>(90 + c.rank()));
  });
  return all;
}

bool same_bits(const Model& a, const Model& b) { return test::model_distance(a, b) == 0; }

}  // namespace

TEST_CASE("ranks: with synchronised batch norm the results are those of one rank") {
  const Trained one = train(nullptr);
  CHECK(one.history.epochs.back().step == 20);
  for (const int ranks : {2, 3}) {
    const std::vector<Trained> all = train_on(ranks);
    INFO(ranks << " ranks");
    CHECK(test::model_distance(all[0].model, one.model) < 1e-5);
    for (const Trained& t : all) {
      CHECK(same_bits(t.model, all[0].model));
      CHECK(t.warnings.empty());
      // What is reported is of the whole batch, on every rank.
      REQUIRE(t.history.epochs.size() == 5);
      for (std::size_t e = 0; e < 5; ++e) {
        CHECK(t.history.epochs[e].train_loss == Approx(one.history.epochs[e].train_loss).epsilon(1e-5));
        CHECK(t.history.epochs[e].train_accuracy == one.history.epochs[e].train_accuracy);
      }
    }
  }
}

TEST_CASE("ranks: parts are weighed as the whole batch weighs them") {
  const Change changes[] = {
      [](TrainerOptions& o, Communicator*) {
        o.loss.class_weights = {0.2, 3, 1, 0.5};
      },
      [](TrainerOptions& o, Communicator*) {
        o.loss.kind = LossKind::focal;
        o.accumulate = 3;
      },
      [](TrainerOptions& o, Communicator*) {
        // Not Adam: where a gradient is zero but for rounding, as before a norm, its steps are as long as any.
        o.clip_norm = 0.5;
        o.ema = EmaOptions{.decay = 0.9};
        o.balance = ClassBalance::oversample;
      },
      // Batches of 2 and a last one of 1: a rank has nothing to do then.
      [](TrainerOptions& o, Communicator*) {
        o.batch_size = 2;
        o.epochs = 1;
      },
  };
  for (const Change& change : changes) {
    INFO("case " << &change - changes);
    const Trained one = train(nullptr, change);
    const std::vector<Trained> two = train_on(2, change);
    CHECK(test::model_distance(two[0].model, one.model) < 1e-5);
    CHECK(same_bits(two[0].model, two[1].model));
  }
}

TEST_CASE("ranks: dropout drops the same values") {
  // In double, for a fresh mobilenet_v2's gradients are so ill-conditioned that f32's rounding is 2 % of them after a
  // step (tests/layers/batch_ranks_test.cc has fused passes in f32).
  const auto net = [](Communicator* ranks) {
    Trained t{
        models::create("mobilenet_v2", {.classes = kClasses, .image_size = 32, .seed = 3, .width = 0.35}), {}, {}};
    t.model.network().to(DType::f64);
    TrainerOptions o = test::ranks_options();
    o.ranks = ranks;
    o.epochs = 1;
    o.batch_size = 14;
    t.history = Trainer(t.model, o).fit(kTrain);
    return t;
  };
  const Trained one = net(nullptr);
  std::vector<Trained> two(2);
  run_ranks(2, [&](Communicator& c) { two[static_cast<std::size_t>(c.rank())] = net(&c); });
  CHECK(test::model_distance(two[0].model, one.model) < 1e-7);
  CHECK(same_bits(two[0].model, two[1].model));
}

TEST_CASE("ranks: blocks that run again in backward change no bit") {
  const auto net = [](bool blocks, Communicator* ranks) {
    Trained t{
        models::create("mobilenet_v2", {.classes = kClasses, .image_size = 32, .seed = 3, .width = 0.35}), {}, {}};
    TrainerOptions o = test::ranks_options();
    o.ranks = ranks;
    o.epochs = 1;
    o.batch_size = 14;
    o.checkpoint_blocks = blocks;
    t.history = Trainer(t.model, o).fit(kTrain);
    return t;
  };
  std::vector<Trained> kept(2), again(2);
  run_ranks(2, [&](Communicator& c) {
    kept[static_cast<std::size_t>(c.rank())] = net(false, &c);
    again[static_cast<std::size_t>(c.rank())] = net(true, &c);
  });
  CHECK(same_bits(kept[0].model, again[0].model));
  CHECK(same_bits(again[1].model, again[0].model));
}

TEST_CASE("ranks: gradients of every size are added up") {
  // In f32: 4.8 MB of which five fit a bucket, one that travels alone, and small ones around them.
  const std::int64_t sizes[] = {200000, 200000, 200000, 3, 200000, 200000, 300000, 17, 200000, 5, 1};
  constexpr std::size_t kUnused = 3, kFrozen = 7, kTwice = 10;
  for (const DType type : {DType::f32, DType::f64}) {
    std::vector<std::string> wrong;
    run_ranks(3, [&](Communicator& ranks) {
      std::vector<NamedTensor> parameters;
      for (std::size_t p = 0; p < std::size(sizes); ++p) {
        Tensor t = Tensor::ones({sizes[p]}, type);
        t.set_requires_grad(p != kFrozen);
        parameters.push_back({str("p", p), t});
      }
      GradientSum sums(ranks, parameters);
      for (int pass = 0; pass < 2; ++pass) {  // buckets are used again
        Tape tape;
        Tensor loss;
        for (std::size_t p = 0; p < parameters.size(); ++p) {
          const double factor = 1 + ranks.rank() + 10 * static_cast<double>(p) + pass;
          for (int k = 0; k < (p == kTwice ? 2 : 1) && p != kUnused; ++k) {
            const Tensor term = sum(scale(parameters[p].tensor, p == kTwice ? factor / 2 : factor));
            loss = loss.defined() ? add(loss, term) : term;
          }
        }
        tape.backward(loss, {}, sums);
        sums.finish();
        for (std::size_t p = 0; p < parameters.size(); ++p) {
          const Tensor grad = parameters[p].tensor.grad();
          bool good = grad.defined() == (p != kUnused && p != kFrozen);
          if (good && grad.defined()) {
            const double wanted = 3 * (2 + 10 * static_cast<double>(p) + pass);
            for (const double v : grad.to_vector<double>()) good = good && v == wanted;
          }
          if (!good && ranks.rank() == 2) wrong.push_back(str("pass ", pass, ", ", parameters[p].name));
          parameters[p].tensor.zero_grad();
        }
      }
    });
    CHECK(wrong == std::vector<std::string>{});
  }
}

TEST_CASE("ranks: running statistics move on by the weighed mean of how the ranks moved them") {
  std::vector<double> results[2];
  run_ranks(2, [&](Communicator& ranks) {
    Tensor mean = Tensor::from<float>({2}, {1, 0.1f}), wide = Tensor::from<double>({1}, {5});
    BufferMeans means(ranks, {{"mean", mean, true}, {"wide", wide, true}, {"weight", Tensor::ones({3}), false}});
    for (int step = 0; step < 2; ++step) {
      means.keep();
      means.keep();  // a step of several batches
      mean.mutable_data<float>()[0] += ranks.rank() == 0 ? 4 : 8;
      wide.mutable_data<double>()[0] += ranks.rank() == 0 ? 1 : -1;
      means.start(ranks.rank() == 0 ? 0.75 : 0.25);
      means.finish();
    }
    for (const Tensor& t : {mean, wide})
      for (const double v : t.to_vector<double>()) results[ranks.rank()].push_back(v);
  });
  CHECK(results[0] == std::vector<double>{11, static_cast<double>(0.1f), 6});
  CHECK(results[1] == results[0]);
}

TEST_CASE("ranks: without synchronised batch norm all ranks still hold the same bits") {
  const std::vector<Trained> all = train_on(2, [](TrainerOptions& o, Communicator*) { o.sync_batch_norm = false; });
  CHECK(same_bits(all[0].model, all[1].model));
  const Trained one = train(nullptr);
  CHECK(test::model_distance(all[0].model, one.model) > 1e-3);  // statistics of parts are others
  // but not much else is.
  CHECK(all[0].history.epochs.back().train_loss == Approx(one.history.epochs.back().train_loss).epsilon(0.2));
}

TEST_CASE("ranks: validation is parted, and its metrics are of all pictures") {
  const auto val = std::make_shared<Noise>(21, 5);
  const auto score = [](const Trained& t) { return t.history.epochs.back(); };
  const Trained one = train(nullptr, {}, kTrain, val);
  const std::vector<Trained> two = train_on(2, {}, kTrain, val);
  for (const Trained& t : two) {
    CHECK(score(t).val_loss == Approx(score(one).val_loss).epsilon(1e-4));
    CHECK(score(t).val_accuracy == Approx(score(one).val_accuracy).margin(0.05));
    CHECK(score(t).val_loss == score(two[0]).val_loss);
  }
  // The same network on the same pictures: every answer, in order, without those that cannot be read.
  const auto damaged = std::make_shared<Noise>(23, 5, 6);
  EvaluateOptions evaluating{.batch_size = 5, .skip_corrupt = true};
  const Evaluation whole = evaluate(one.model, damaged, evaluating);
  std::vector<Evaluation> parts(3);
  run_ranks(3, [&](Communicator& c) {
    EvaluateOptions part = evaluating;
    part.ranks = &c;
    parts[static_cast<std::size_t>(c.rank())] = evaluate(one.model, damaged, part);
  });
  for (const Evaluation& e : parts) {
    CHECK(e.indices == whole.indices);
    CHECK(e.labels == whole.labels);
    CHECK(e.metrics.n == 19);
    CHECK(e.metrics.confusion == whole.metrics.confusion);
    CHECK(e.metrics.log_loss == Approx(whole.metrics.log_loss).epsilon(1e-6));
  }
}

TEST_CASE("ranks: pictures that cannot be read do not part the ranks") {
  const auto damaged = std::make_shared<Noise>(27, 1, 3);
  const Change change = [](TrainerOptions& o, Communicator*) {
    o.skip_corrupt = true;
    o.batch_size = 4;
    o.epochs = 2;
  };
  const Trained one = train(nullptr, change, damaged);
  const std::vector<Trained> two = train_on(2, change, damaged);
  CHECK(test::model_distance(two[0].model, one.model) < 1e-5);
  CHECK(same_bits(two[0].model, two[1].model));
}

TEST_CASE("ranks: one checkpoint, from which all go on to the same bits") {
  const fovea::test::TempFolder folder(true);
  const std::vector<Trained> whole = train_on(2);
  const std::string path = folder / "checkpoint.safetensors";
  // Rank 1 alone is asked to stop, in the middle of an epoch.
  struct Stopper final : TrainObserver {
    CancelToken& cancel;
    explicit Stopper(CancelToken& c) : cancel(c) {}
    void on_batch(const BatchReport& r) override {
      if (r.step == 6) cancel.request();
    }
  };
  std::vector<Trained> stopped(2);
  run_ranks(2, [&](Communicator& c) {
    CancelToken cancel;
    Stopper stopper(cancel);
    stopped[static_cast<std::size_t>(c.rank())] = train(&c, [&](TrainerOptions& o, Communicator*) {
      o.checkpoint = path;
      o.cancel = &cancel;
      if (c.rank() == 1) o.observers.push_back(&stopper);
    });
  });
  CHECK(stopped[0].history.cancelled);
  CHECK(stopped[1].history.cancelled);
  CHECK(stopped[0].history.epochs.size() == 1);
  CHECK(std::filesystem::exists(path));
  const std::vector<Trained> resumed = train_on(2, [&](TrainerOptions& o, Communicator*) {
    o.checkpoint = path;
    o.resume = true;
  });
  CHECK(same_bits(resumed[0].model, whole[0].model));
  CHECK(same_bits(resumed[1].model, whole[0].model));
  CHECK(resumed[0].warnings.empty());
}

TEST_CASE("ranks: what differs between ranks is refused, not waited for") {
  const auto error = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return {};
  };
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != text.npos; };
  CHECK(contains(error([] { train_on(2, [](TrainerOptions& o, Communicator* c) { o.epochs = 3 + c->rank(); }); }),
                 "different settings: epochs is"));
  CHECK(contains(
      error([] { run_ranks(2, [](Communicator& c) { train(&c, {}, std::make_shared<Noise>(27 + c.rank())); }); }),
      "different settings: training pictures"));
  CHECK(contains(error([] { train_on(2, [](TrainerOptions& o, Communicator*) { o.privacy = PrivacyOptions{}; }); }),
                 "one rank"));
  CHECK(contains(error([] { train_on(2, [](TrainerOptions& o, Communicator*) { o.batch_size = kAutoBatch; }); }),
                 "several ranks is not chosen automatically"));
  // A file that only rank 0 sees.
  const fovea::test::TempFolder folder(true);
  const Change checkpointed = [&](TrainerOptions& o, Communicator* c) {
    o.checkpoint = folder / str("rank", c->rank(), ".safetensors");
    o.epochs = 1;
  };
  train_on(2, checkpointed);
  CHECK(contains(error([&] {
                   train_on(2, [&](TrainerOptions& o, Communicator* c) {
                     checkpointed(o, c);
                     o.resume = true;
                   });
                 }),
                 "is there for 1 of 2 ranks"));
}

TEST_CASE("ranks: a program that mpirun did not start is alone") {
  if (mpi_launch().size > 1) return;  // the tests themselves under mpirun
  const std::unique_ptr<Communicator> world = open_mpi_world();
  CHECK(world->rank() == 0);
  CHECK(world->size() == 1);
  CHECK(world->processors() >= 1);
  double numbers[] = {1, 2};
  world->sum(numbers);
  CHECK(numbers[1] == 2);
  // and trains as it would without ranks.
  CHECK(same_bits(train(world.get()).model, train(nullptr).model));
}
