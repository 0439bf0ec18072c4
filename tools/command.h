// What the subcommands of the fovea program share. One file per subcommand; each adds itself to the parser and runs.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "train/cancel.h"

namespace fovea::tools {

/// Options every subcommand takes.
struct Common {
  int threads = 0;  ///< 0: all processors
  std::uint64_t seed = 1;
  bool quiet = false;
  bool json = false;
};

/// What main() runs after parsing: returns the exit code. Unset if no subcommand was given.
using Action = std::function<int()>;

/// Adds --threads, --seed, --quiet, --json.
void add_common(CLI::App& command, Common& common);
/// Adds --device, for device_from() (kernels/devices.h).
CLI::Option* add_device_option(CLI::App& command, std::string& device);
/// Sets the thread count; call it first in every action.
void apply_common(const Common& common);

void add_train(CLI::App& app, Action& action);
void add_evaluate(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_audit(CLI::App& app, Action& action);
void add_anonymize(CLI::App& app, Action& action);
void add_forget(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_summary(CLI::App& app, Action& action);
void add_models(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_weights(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_pack(CLI::App& app, Action& action);
void add_augment_preview(CLI::App& app, Action& action);
void add_compile(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_devices(CLI::App& app, Action& action);
void add_version(CLI::App& app, Action& action);

/// Ctrl-C and SIGTERM request() this token instead of ending the program; a second one ends it at once.
CancelToken& catch_interrupts();
/// The exit code of a run that such a signal stopped: 128 + its number, as shells report it.
int interrupted_code();

}  // namespace fovea::tools
