// The schedules' formulas.
#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace fovea {
namespace {

constexpr double kPi = 3.14159265358979323846;

void require(bool good, std::string_view schedule, std::string_view what) {
  if (!good) throw Error(ErrorKind::usage, schedule, what);
}

void check(const ConstantLr&) {}
void check(const StepLr& c) {
  require(c.every >= 1, "step schedule", "'every' must be at least 1 epoch");
  require(c.gamma > 0 && std::isfinite(c.gamma), "step schedule", "gamma must be positive");
}
void check(const MultiStepLr& c) {
  require(std::is_sorted(c.milestones.begin(), c.milestones.end()), "multi-step schedule", "milestones must ascend");
  require(c.gamma > 0 && std::isfinite(c.gamma), "multi-step schedule", "gamma must be positive");
}
void check(const ExponentialLr& c) {
  require(c.gamma > 0 && std::isfinite(c.gamma), "exponential schedule", "gamma must be positive");
}
void check(const CosineLr& c) {
  require(c.final_factor >= 0 && c.final_factor <= 1, "cosine schedule", "final_factor must be in [0, 1]");
}
void check(const PolynomialLr& c) {
  require(c.power > 0 && std::isfinite(c.power), "polynomial schedule", "power must be positive");
}
void check(const OneCycleLr& c) {
  require(c.pct_start >= 0 && c.pct_start <= 1, "one-cycle schedule", "pct_start must be in [0, 1]");
  require(c.div_factor > 0 && c.final_div_factor > 0, "one-cycle schedule", "div factors must be positive");
  const auto fraction = [](double v) { return v >= 0 && v < 1; };
  require(!c.cycle_momentum || (fraction(c.base_momentum) && fraction(c.max_momentum)), "one-cycle schedule",
          "momenta must be in [0, 1)");
}
void check(const PlateauLr& c) {
  require(c.factor > 0 && c.factor < 1, "plateau schedule", "factor must be in (0, 1)");
  require(c.patience >= 0 && c.cooldown >= 0, "plateau schedule", "patience and cooldown must be at least 0");
  require(c.threshold >= 0 && c.min_lr >= 0, "plateau schedule", "threshold and min_lr must be at least 0");
}

double anneal(bool linear, double from, double to, double fraction) {
  if (linear) return from + (to - from) * fraction;
  return to + (from - to) / 2 * (1 + std::cos(kPi * fraction));
}

}  // namespace

Schedule::Schedule(ScheduleConfig config, double lr, std::int64_t total_steps, std::int64_t steps_per_epoch,
                   Warmup warmup)
    : config_(std::move(config)),
      lr_(lr),
      total_(total_steps),
      per_epoch_(steps_per_epoch),
      warmup_start_(warmup.start_factor) {
  std::visit([](const auto& c) { check(c); }, config_);
  require(std::isfinite(lr) && lr >= 0, "schedule", "the learning rate must be a finite number, at least 0");
  require(total_steps >= 1 && steps_per_epoch >= 1, "schedule", "there must be at least one step");
  require(warmup.steps >= 0 && warmup.epochs >= 0 && std::isfinite(warmup.epochs), "warm-up",
          "its length must be at least 0");
  require(warmup.start_factor >= 0 && warmup.start_factor <= 1, "warm-up", "start_factor must be in [0, 1]");
  warmup_steps_ = warmup.steps > 0 ? warmup.steps
                                   : std::llround(std::min(warmup.epochs * static_cast<double>(steps_per_epoch), 1e15));
  require(warmup_steps_ == 0 || !std::holds_alternative<OneCycleLr>(config_), "one-cycle schedule",
          "it has its own rise: use pct_start instead of a warm-up");
  require(warmup_steps_ < total_ || warmup_steps_ == 0, "warm-up", "it must be shorter than the training");
}

Schedule::Rates Schedule::at(std::int64_t step) const {
  step = std::clamp<std::int64_t>(step, 0, total_ - 1);
  const std::int64_t t = std::max<std::int64_t>(step - warmup_steps_, 0);
  const auto rest = static_cast<double>(total_ - warmup_steps_);
  const auto epoch = static_cast<double>(step / per_epoch_);
  Rates rates;
  struct Visitor {
    const Schedule& self;
    Rates& rates;
    double t, rest, epoch;
    std::int64_t step;
    double operator()(const ConstantLr&) const { return self.lr_; }
    double operator()(const StepLr& c) const { return self.lr_ * std::pow(c.gamma, std::floor(epoch / c.every)); }
    double operator()(const MultiStepLr& c) const {
      const auto passed = std::count_if(c.milestones.begin(), c.milestones.end(), [&](int m) { return m <= epoch; });
      return self.lr_ * std::pow(c.gamma, static_cast<double>(passed));
    }
    double operator()(const ExponentialLr& c) const { return self.lr_ * std::pow(c.gamma, epoch); }
    double operator()(const CosineLr& c) const { return anneal(false, self.lr_, self.lr_ * c.final_factor, t / rest); }
    double operator()(const PolynomialLr& c) const { return self.lr_ * std::pow(1 - t / rest, c.power); }
    double operator()(const OneCycleLr& c) const {
      const double first = self.lr_ / c.div_factor, last = first / c.final_div_factor;
      const auto total = static_cast<double>(self.total_);
      const double peak = c.pct_start * total - 1, end = total - 1;
      const auto s = static_cast<double>(step);
      // A rise shorter than one step, and a training of one step, have no first phase.
      if (s <= peak && peak > 0) {
        const double f = s / peak;
        if (c.cycle_momentum) rates.momentum = anneal(c.linear, c.max_momentum, c.base_momentum, f);
        return anneal(c.linear, first, self.lr_, f);
      }
      const double from = std::max(peak, 0.0);
      const double f = end > from ? (s - from) / (end - from) : 1;
      if (c.cycle_momentum) rates.momentum = anneal(c.linear, c.base_momentum, c.max_momentum, f);
      return anneal(c.linear, self.lr_, last, f);
    }
    double operator()(const PlateauLr& c) const {
      return std::max(self.lr_ * self.plateau_.factor, std::min(c.min_lr, self.lr_));
    }
  };
  rates.lr = std::visit(Visitor{*this, rates, static_cast<double>(t), rest, epoch, step}, config_);
  if (step < warmup_steps_) {
    const double rise =
        warmup_start_ + (1 - warmup_start_) * static_cast<double>(step) / static_cast<double>(warmup_steps_);
    rates.lr = lr_ * rise;
  }
  return rates;
}

bool Schedule::end_epoch(double monitored) {
  const auto* c = std::get_if<PlateauLr>(&config_);
  if (!c) return false;
  PlateauState& s = plateau_;
  const bool better =
      !s.any || (c->maximize ? monitored > s.best * (1 + c->threshold) : monitored < s.best * (1 - c->threshold));
  if (better && !std::isnan(monitored)) {
    s.best = monitored;
    s.any = true;
    s.bad_epochs = 0;
  } else {
    ++s.bad_epochs;
  }
  if (s.cooldown > 0) {
    --s.cooldown;
    s.bad_epochs = 0;
  }
  if (s.bad_epochs <= c->patience) return false;
  const double before = lr_ * s.factor;
  s.factor *= c->factor;
  s.cooldown = c->cooldown;
  s.bad_epochs = 0;
  return before > c->min_lr;
}

std::string describe(const ScheduleConfig& config) {
  struct Visitor {
    std::string operator()(const ConstantLr&) const { return "constant"; }
    std::string operator()(const StepLr& c) const { return str("step every=", c.every, " gamma=", c.gamma); }
    std::string operator()(const MultiStepLr& c) const {
      std::string out = "multistep milestones=";
      for (const int m : c.milestones) out += str(m, ",");
      return out + str(" gamma=", c.gamma);
    }
    std::string operator()(const ExponentialLr& c) const { return str("exponential gamma=", c.gamma); }
    std::string operator()(const CosineLr& c) const { return str("cosine final_factor=", c.final_factor); }
    std::string operator()(const PolynomialLr& c) const { return str("polynomial power=", c.power); }
    std::string operator()(const OneCycleLr& c) const {
      std::string out =
          str("one-cycle pct_start=", c.pct_start, " div_factor=", c.div_factor,
              " final_div_factor=", c.final_div_factor, " linear=", c.linear, " cycle_momentum=", c.cycle_momentum);
      if (c.cycle_momentum) out += str(" base_momentum=", c.base_momentum, " max_momentum=", c.max_momentum);
      return out;
    }
    std::string operator()(const PlateauLr& c) const {
      return str("plateau factor=", c.factor, " patience=", c.patience, " threshold=", c.threshold,
                 " cooldown=", c.cooldown, " min_lr=", c.min_lr, " maximize=", c.maximize);
    }
  };
  return std::visit(Visitor{}, config);
}

}  // namespace fovea
