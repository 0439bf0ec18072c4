// Learning-rate schedules against PyTorch's, step by step.
#include "train/schedule.h"

#include <cmath>

#include "catch.h"
#include "core/error.h"
#include "reference.h"

using namespace fovea;

namespace {

const double kLr = 0.4;

void check_steps(const Schedule& schedule, const char* name, int per_epoch = 1) {
  const auto& expected = reference()["schedules"][name];
  const std::vector<double> lr = expected["lr"];
  for (std::size_t i = 0; i < lr.size(); ++i) {
    for (int k = 0; k < per_epoch; ++k) {
      const Schedule::Rates rates = schedule.at(static_cast<std::int64_t>(i) * per_epoch + k);
      INFO(name << " step " << i);
      CHECK(rates.lr == Approx(lr[i]).epsilon(1e-9).margin(1e-15));
      if (expected.contains("momentum") && !std::string(name).starts_with("plateau")) {
        CHECK(rates.momentum == Approx(expected["momentum"][i].get<double>()).epsilon(1e-9));
      } else {
        CHECK(rates.momentum < 0);
      }
    }
  }
}

}  // namespace

TEST_CASE("epoch-based schedules are PyTorch's") {
  check_steps(Schedule(StepLr{.every = 3, .gamma = 0.2}, kLr, 36, 3), "step", 3);
  check_steps(Schedule(MultiStepLr{.milestones = {2, 5, 6}, .gamma = 0.3}, kLr, 36, 3), "multistep", 3);
  check_steps(Schedule(ExponentialLr{.gamma = 0.9}, kLr, 36, 3), "exponential", 3);
  for (const int step : {0, 17, 35, 1000, -4}) CHECK(Schedule(ConstantLr{}, kLr, 36, 3).at(step).lr == kLr);
}

TEST_CASE("step-based schedules are PyTorch's") {
  check_steps(Schedule(CosineLr{.final_factor = 0.1}, kLr, 37, 5), "cosine");
  check_steps(Schedule(PolynomialLr{.power = 2}, kLr, 37, 5), "polynomial");
  check_steps(Schedule(OneCycleLr{.cycle_momentum = true}, kLr, 50, 5), "onecycle");
  check_steps(Schedule(OneCycleLr{.pct_start = 0.4,
                                  .div_factor = 10,
                                  .final_div_factor = 100,
                                  .linear = true,
                                  .cycle_momentum = true,
                                  .base_momentum = 0.8,
                                  .max_momentum = 0.9},
                       kLr, 37, 5),
              "onecycle_linear");
  check_steps(Schedule(CosineLr{}, kLr, 40, 4, {.epochs = 2, .start_factor = 0.05}), "warmup_cosine");
  check_steps(Schedule(CosineLr{}, kLr, 40, 4, {.steps = 8, .start_factor = 0.05}), "warmup_cosine");
}

TEST_CASE("the plateau rule is PyTorch's and its state resumes") {
  const auto check = [](const char* name, const PlateauLr& config) {
    const auto& expected = reference()["schedules"][name];
    const std::vector<double> lr = expected["lr"], feed = expected["feed"];
    Schedule schedule(config, kLr, 40, 1);
    for (std::size_t i = 0; i < lr.size(); ++i) {
      INFO(name << " epoch " << i);
      CHECK(schedule.at(static_cast<std::int64_t>(i)).lr == Approx(lr[i]).epsilon(1e-9));
      schedule.end_epoch(feed[i]);
      Schedule next(config, kLr, 40, 1);
      next.set_plateau(schedule.plateau());
      schedule = next;
    }
    CHECK(lr.back() < lr.front());
  };
  check("plateau", {.factor = 0.5, .patience = 2, .threshold = 1e-2, .cooldown = 1, .min_lr = 0.01});
  check("plateau_max", {.factor = 0.5, .patience = 1, .maximize = true});
}

TEST_CASE("schedules survive very short trainings and refuse nonsense") {
  for (const std::int64_t total : {1, 2, 3}) {
    for (const ScheduleConfig& config :
         {ScheduleConfig(OneCycleLr{}), ScheduleConfig(CosineLr{}), ScheduleConfig(PolynomialLr{})}) {
      for (std::int64_t step = 0; step < total + 2; ++step) {
        const double lr = Schedule(config, kLr, total, 1).at(step).lr;
        INFO(describe(config) << " step " << step << " of " << total);
        CHECK((std::isfinite(lr) && lr >= 0 && lr <= kLr));
      }
    }
  }
  CHECK_THROWS_AS(Schedule(StepLr{.every = 0}, kLr, 10, 1), Error);
  CHECK_THROWS_AS(Schedule(MultiStepLr{.milestones = {5, 2}}, kLr, 10, 1), Error);
  CHECK_THROWS_AS(Schedule(OneCycleLr{.pct_start = 1.5}, kLr, 10, 1), Error);
  CHECK_THROWS_AS(Schedule(OneCycleLr{}, kLr, 10, 1, {.epochs = 1}), Error);
  CHECK_THROWS_AS(Schedule(PlateauLr{.factor = 1}, kLr, 10, 1), Error);
  CHECK_THROWS_AS(Schedule(CosineLr{}, kLr, 10, 1, {.epochs = 10}), Error);
  CHECK_THROWS_AS(Schedule(CosineLr{}, kLr, 0, 1), Error);
  CHECK_THROWS_AS(Schedule(CosineLr{}, NAN, 10, 1), Error);
}
