// fovea compile: a model as a compiled network in a file.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "infer/compile/compile.h"
#include "tools/answering.h"
#include "tools/command.h"

namespace fovea::tools {
namespace {

struct CompileArguments {
  Common common;
  ModelSource source;
  std::string out;
};

int run_compile(const CompileArguments& o) {
  apply_common(o.common);
  if (is_compiled(o.source)) throw Error(ErrorKind::usage, o.source.path, "is compiled already");
  const Model model = open_model(o.source);
  infer::save(model, o.out);
  if (!o.common.quiet) {
    std::printf("%s: %s, %.2f MB\n", o.out.c_str(), describe(model).c_str(),
                static_cast<double>(std::filesystem::file_size(o.out)) / 1e6);
  }
  return 0;
}

}  // namespace

void add_compile(CLI::App& app, Action& action) {
  auto o = std::make_shared<CompileArguments>();
  CLI::App* command =
      app.add_subcommand("compile", "Write a model as a compiled network: answers only, for the small runtime");
  command->footer(
      "Examples:\n"
      "  fovea compile runs/birds --out birds.fovea\n"
      "  fovea predict birds.fovea new/*.jpg\n\n"
      "Batch norms are folded into weights and neighbouring layers fused, so the file is read and packed faster. It "
      "holds f32 weights, and with it go preprocessing and class names. predict, evaluate, bench and summary take it, "
      "and infer::load of the library fovea_infer. It cannot be trained further: keep the model file.");
  command
      ->add_option("model", o->source.path,
                   "Model file, run folder, weight file of another framework, or name of pretrained weights")
      ->required();
  command->add_option("--out", o->out, "The file to write")->required();
  add_model_options(*command, o->source);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_compile(*o); }; });
}

}  // namespace fovea::tools
