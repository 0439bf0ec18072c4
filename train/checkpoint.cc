// Checkpoints as safetensors: groups of tensors under "model/", "optimizer/", "ema/" and "best/", numbers under
// "state/".
#include "train/checkpoint.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/io/safetensors.h"

namespace fovea {
namespace {

constexpr const char* kVersion = "1";
constexpr const char* kVersionKey = "fovea.checkpoint";
constexpr std::string_view kSettingPrefix = "setting.";
constexpr std::int64_t kEpochColumns = 11, kCurveColumns = 3;

using Named = std::vector<std::pair<std::string, Tensor>>;

void put_group(Named& out, const std::string& group, const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& t : tensors)
    out.emplace_back(group + t.name, t.tensor.device() == kCpu ? t.tensor : t.tensor.to(kCpu));
}

Tensor doubles(const std::vector<double>& v, std::int64_t columns = 1) {
  const auto rows = static_cast<std::int64_t>(v.size()) / columns;
  return Tensor::from(columns == 1 ? Shape{rows} : Shape{rows, columns}, v);
}

/// The numbers of a run in a fixed order: the one place that knows it, for writing and reading.
template <class Progress, class HistoryT, class Count, class IntFn, class DoubleFn>
void walk(Progress& p, HistoryT& h, Count& ema_updates, IntFn&& integer, DoubleFn&& real) {
  integer(p.epoch);
  integer(p.batch);
  integer(p.step);
  integer(p.images);
  integer(p.correct);
  integer(p.bad_epochs);
  integer(p.plateau.bad_epochs);
  integer(p.plateau.cooldown);
  integer(h.curve_stride);
  integer(h.best_epoch);
  integer(ema_updates);
  real(p.loss_sum);
  real(p.seconds);
  real(p.train_seconds);
  real(p.monitored_best);
  real(p.plateau.best);
  real(p.plateau.factor);
}

Error damaged(const std::string& path, std::string_view what) {
  return Error(ErrorKind::format, path, str("not a usable checkpoint: ", what),
               "start afresh, or resume from another file");
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& c) {
  Named tensors;
  put_group(tensors, "model/", c.model);
  put_group(tensors, "optimizer/", c.optimizer);
  put_group(tensors, "ema/", c.ema);
  put_group(tensors, "best/", c.best);

  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  walk(
      c.progress, c.history, c.ema_updates, [&](std::int64_t v) { integers.push_back(v); },
      [&](double v) { reals.push_back(v); });
  for (const bool flag : {c.progress.finished, c.progress.plateau.any, c.history.cancelled, c.history.stopped_early})
    integers.push_back(flag);
  tensors.emplace_back("state/integers", Tensor::from({static_cast<std::int64_t>(integers.size())}, integers));
  tensors.emplace_back("state/reals", doubles(reals));

  if (c.loss_scale) {
    tensors.emplace_back("state/loss_scale",
                         doubles({c.loss_scale->scale, static_cast<double>(c.loss_scale->good_steps),
                                  static_cast<double>(c.loss_scale->skipped)}));
  }
  std::vector<double> epochs, curve, waits;
  for (const EpochRecord& e : c.history.epochs) waits.push_back(e.wait_share);
  waits.push_back(c.progress.wait_seconds);
  tensors.emplace_back("state/waits", doubles(waits));
  for (const EpochRecord& e : c.history.epochs) {
    epochs.insert(epochs.end(),
                  {static_cast<double>(e.epoch), static_cast<double>(e.step), e.lr, e.train_loss, e.train_accuracy,
                   e.val_loss, e.val_accuracy, e.val_macro_f1, e.seconds, e.images_per_s, e.best ? 1.0 : 0.0});
  }
  for (const CurvePoint& p : c.history.curve) curve.insert(curve.end(), {static_cast<double>(p.step), p.lr, p.loss});
  tensors.emplace_back("state/epochs", doubles(epochs, kEpochColumns));
  tensors.emplace_back("state/curve", doubles(curve, kCurveColumns));

  std::vector<std::pair<std::string, std::string>> metadata = {{kVersionKey, kVersion}};
  for (const auto& [key, value] : c.settings) metadata.emplace_back(std::string(kSettingPrefix) + key, value);
  write_safetensors(path, tensors, metadata);
}

Checkpoint load_checkpoint(const std::string& path) {
  const Safetensors file = read_safetensors(path);
  const std::string* version = file.find_metadata(kVersionKey);
  if (!version) throw damaged(path, "it is a safetensors file of another kind");
  if (*version != kVersion) throw damaged(path, str("it has version ", *version, ", this program reads ", kVersion));

  Checkpoint c;
  for (const auto& [key, value] : file.metadata) {
    if (key.starts_with(kSettingPrefix)) c.settings.emplace_back(key.substr(kSettingPrefix.size()), value);
  }
  const std::array<std::pair<std::string_view, std::vector<NamedTensor>*>, 4> groups = {
      {{"model/", &c.model}, {"optimizer/", &c.optimizer}, {"ema/", &c.ema}, {"best/", &c.best}}};
  for (const auto& [name, tensor] : file.tensors) {
    for (const auto& [prefix, group] : groups) {
      // Copies, because the file's mapping must not outlive the file's replacement by the next checkpoint.
      if (name.starts_with(prefix)) group->push_back({name.substr(prefix.size()), tensor.clone()});
    }
  }

  const auto get = [&](const char* name, DType dtype, std::int64_t columns) {
    Tensor t = file.find(name);
    if (!t.defined() || t.dtype() != dtype) throw damaged(path, str(name, " is missing"));
    if (columns > 0 && (t.rank() != 2 || t.dim(1) != columns)) throw damaged(path, str(name, " is ", t.to_string()));
    return t;
  };
  const std::vector<std::int64_t> integers = get("state/integers", DType::i64, 0).to_vector<std::int64_t>();
  const std::vector<double> reals = get("state/reals", DType::f64, 0).to_vector<double>();
  std::size_t i = 0, r = 0;
  bool enough = true;
  const auto next_integer = [&]() -> std::int64_t { return i < integers.size() ? integers[i++] : (enough = false, 0); };
  walk(
      c.progress, c.history, c.ema_updates,
      [&](std::int64_t& v) {
        v = next_integer();
        enough = enough && v >= 0;
      },
      [&](double& v) { v = r < reals.size() ? reals[r++] : (enough = false, 0.0); });
  for (bool* flag : {&c.progress.finished, &c.progress.plateau.any, &c.history.cancelled, &c.history.stopped_early})
    *flag = next_integer() != 0;
  if (!enough || i != integers.size() || r != reals.size() || c.history.curve_stride < 1)
    throw damaged(path, "its counters make no sense");

  const std::vector<double> epochs = get("state/epochs", DType::f64, kEpochColumns).to_vector<double>();
  for (std::size_t at = 0; at < epochs.size(); at += kEpochColumns) {
    const double* e = epochs.data() + at;
    c.history.epochs.push_back({static_cast<std::int64_t>(e[0]), static_cast<std::int64_t>(e[1]), e[2], e[3], e[4],
                                e[5], e[6], e[7], e[8], e[9], e[10] != 0});
  }
  // Of each epoch, and the present one's; older checkpoints have none.
  if (const Tensor waits = file.find("state/waits"); waits.defined()) {
    if (waits.dtype() != DType::f64 || waits.numel() != static_cast<std::int64_t>(c.history.epochs.size()) + 1)
      throw damaged(path, "it does not have one wait for each epoch");
    const std::vector<double> shares = waits.to_vector<double>();
    for (std::size_t e = 0; e < c.history.epochs.size(); ++e) c.history.epochs[e].wait_share = shares[e];
    c.progress.wait_seconds = shares.back();
  }
  if (const Tensor scale = file.find("state/loss_scale"); scale.defined()) {
    if (scale.dtype() != DType::f64 || scale.numel() != 3) throw damaged(path, "its loss scale is no such thing");
    const std::vector<double> v = scale.to_vector<double>();
    for (const double count : {v[1], v[2]}) {
      if (!(count >= 0 && count < 0x1p53)) throw damaged(path, "its loss scale makes no sense");
    }
    c.loss_scale = {v[0], static_cast<std::int64_t>(v[1]), static_cast<std::int64_t>(v[2])};
  }
  const std::vector<double> curve = get("state/curve", DType::f64, kCurveColumns).to_vector<double>();
  for (std::size_t at = 0; at < curve.size(); at += kCurveColumns) {
    c.history.curve.push_back({static_cast<std::int64_t>(curve[at]), curve[at + 1], curve[at + 2]});
  }
  return c;
}

}  // namespace fovea
