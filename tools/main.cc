// The fovea program: parses the command line, runs one subcommand, turns errors into messages and exit codes
// (0 done, 1 failed, 2 wrong usage, 128 + signal where Ctrl-C or SIGTERM stopped it).
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>

#include "core/threads/parallel.h"
#include "core/version.h"
#include "tools/command.h"
#include "tools/failure.h"
#include "tools/help_format.h"
#include "tools/usage_error.h"
#include "train/distributed/mpi.h"

namespace fovea::tools {
namespace {
CancelToken interrupt_token;
volatile std::sig_atomic_t interrupt_signal = 0;

void on_interrupt(int signal) {
  if (interrupt_token.requested()) std::_Exit(128 + signal);
  interrupt_signal = signal;
  interrupt_token.request();
}
}  // namespace

CancelToken& catch_interrupts() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  return interrupt_token;
}

int interrupted_code() { return interrupt_signal ? 128 + static_cast<int>(interrupt_signal) : 1; }

void add_common(CLI::App& command, Common& common) {
  command.add_option("--threads", common.threads, "Processor cores to use (default: all)")->check(CLI::Range(1, 1024));
  command.add_option("--seed", common.seed, "Seed of everything random; equal seeds give equal results")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_flag("-q,--quiet", common.quiet, "Print only results and errors");
  command.add_flag("--json", common.json, "Print results as JSON, for other programs");
}

void apply_common(const Common& common) {
  if (common.threads > 0) set_num_threads(common.threads);
}

}  // namespace fovea::tools

int main(int argc, char** argv) {
  using namespace fovea;
  using namespace fovea::tools;
  std::signal(SIGPIPE, SIG_IGN);  // `fovea … | head` ends by a failed write, with checkpoints kept
  CLI::App app{
      "fovea: train, evaluate and use image classifiers, on CPUs and GPUs, without Python.\n\n"
      "  fovea train fashion-mnist                       learn 60 000 pictures of clothes in minutes\n"
      "  fovea train photos --out runs/photos            learn your own: one folder of pictures per class\n"
      "  fovea evaluate runs/photos photos-of-today      how good is it, class by class?\n"
      "  fovea predict runs/photos/model.fovea new/*.jpg what is on these?\n\n"
      "`fovea COMMAND --help` explains a command by example.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."};
  app.name("fovea");
  app.formatter(std::make_shared<HelpFormat>());  // before the commands, which inherit it
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of all commands");
  app.set_version_flag("--version", std::string("fovea ") + kVersion);
  app.failure_message([](const CLI::App* root, const CLI::Error& e) {
    const auto* error = dynamic_cast<const CLI::ParseError*>(&e);
    return error ? explain_usage(*root, *error) : std::string(e.what()) + "\n";
  });
  Action action;
  add_train(app, action);
  add_evaluate(app, action);
  add_predict(app, action);
  add_explain(app, action);
  add_report(app, action);
  add_audit(app, action);
  add_anonymize(app, action);
  add_forget(app, action);
  add_models(app, action);
  add_summary(app, action);
  add_inspect(app, action);
  add_pack(app, action);
  add_convert(app, action);
  add_run(app, action);
  add_weights(app, action);
  add_augment_preview(app, action);
  add_compile(app, action);
  add_bench(app, action);
  add_quantize(app, action);
  add_devices(app, action);
  add_version(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // Of the ranks that mpirun started with the same words, one says what is wrong with them.
    std::ostringstream unheard;
    const bool heard = mpi_launch().rank == 0;
    return (heard ? app.exit(e) : app.exit(e, unheard, unheard)) == 0 ? 0 : 2;
  }
  try {
    const int code = action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
      std::fprintf(stderr, "fovea: standard output cannot be written\n");
      return 1;
    }
    return code;
  } catch (const std::exception&) {
    return report_failure();
  }
}
