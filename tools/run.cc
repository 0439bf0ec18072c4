// fovea run: a network on a tensor instead of a picture, to compare it with another framework.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/io/safetensors.h"
#include "models/trace.h"
#include "tools/command.h"
#include "tools/model_source.h"

namespace fovea::tools {
namespace {

struct RunArguments {
  Common common;
  ModelSource source;
  std::string input, output, dtype = "f32", names;
  bool activations = false;
};

Tensor read_input(const std::string& path) {
  const Safetensors file = read_safetensors(path);
  Tensor x = file.find("input");
  if (!x.defined()) {
    std::string names;
    for (const auto& [name, tensor] : file.tensors) names += str(names.empty() ? "" : ", ", name);
    throw Error(ErrorKind::format, path, "has no tensor named 'input'",
                str("it has: ", names.empty() ? "none" : names));
  }
  if (x.rank() != 4 || x.numel() == 0)
    throw Error(ErrorKind::shape, path, str("'input' is ", x.shape(), ", expected [batch, height, width, channels]"));
  return x;
}

int run_network(const RunArguments& o) {
  apply_common(o.common);
  if (o.source.path.empty() && o.source.formula.empty())
    throw Error(ErrorKind::usage, "run", "which network? name a model or weight file, or give --formula");
  const DType dtype = o.dtype == "f64" ? DType::f64 : DType::f32;
  const Tensor x = read_input(o.input).to(dtype);
  Model model = open_model(o.source, o.common.seed);
  if (dtype != DType::f32) model.network().to(dtype);
  model.preprocessing.height = static_cast<int>(x.dim(1));
  model.preprocessing.width = static_cast<int>(x.dim(2));
  if (x.dim(3) != model.preprocessing.channels) {
    throw Error(ErrorKind::shape, o.input,
                str("'input' is ", x.shape(), ", the network takes ", model.preprocessing.channels, " channels"));
  }
  const models::Layout layout =
      o.names.empty() ? model.options.layout.value_or(models::Layout::fovea) : models::layout_from(o.names);
  const models::Trace trace = models::trace(model, x, layout, o.activations);
  const bool logits = model.options.top == models::Top::classifier;
  std::vector<std::pair<std::string, Tensor>> out{{logits ? "logits" : "features", trace.result}};
  for (const auto& [name, tensor] : trace.activations) {
    if (name != out[0].first) out.emplace_back(name, tensor);
  }
  write_safetensors(o.output, out, {{"format", "fovea"}, {"model", describe(model)}});
  if (!o.common.quiet) {
    std::fprintf(stderr, "%s\n%s: %s%s%s\n", describe(model).c_str(), o.output.c_str(), out[0].first.c_str(),
                 str(" ", trace.result.shape()).c_str(),
                 o.activations ? str(" and ", out.size() - 1, " activations").c_str() : "");
  }
  return 0;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto o = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand(
      "run", "Run a network on a tensor and write what it computes, to compare with another framework");
  command->footer(
      "Examples:\n"
      "  fovea run mobilenet_v2.h5 --input x.safetensors --output y.safetensors\n"
      "  fovea run weights.pth --input x.safetensors --output y.safetensors --activations\n\n"
      "The input file holds a tensor `input` [batch, height, width, channels], f32, which is fed to the first layer as "
      "it is: no resizing and no normalisation but what the network itself contains. The output file gets `logits` "
      "(before any softmax), or `features` if the file has no classifier, and with --activations the result of every "
      "layer under the name that the weights' framework gives it, NHWC.");
  command->add_option(
      "source", o->source.path,
      "Model file, run folder, weight file of another framework, or name of pretrained weights or of a network");
  command->add_option("--input", o->input, "safetensors file with a tensor `input`")->required();
  command->add_option("--output", o->output, "safetensors file to write")->required();
  command->add_flag("--activations", o->activations, "Write every layer's result too");
  command
      ->add_option(
          "--names", o->names,
          "Whose names activations get (default: the source's): torchvision, timm, keras, huggingface, tfslim, "
          "lukemelas, fovea")
      ->check(CLI::IsMember({"torchvision", "timm", "keras", "huggingface", "tfslim", "lukemelas", "fovea"}));
  command->add_option("--dtype", o->dtype, "Element type to compute in: f32 or f64")
      ->check(CLI::IsMember({"f32", "f64"}))
      ->capture_default_str();
  add_model_options(*command, o->source);
  command
      ->add_option("--formula", o->source.formula,
                   "Weights from a formula (name, kind, shape, offset, scale), for tests")
      ->group("Model");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_network(*o); }; });
}

}  // namespace fovea::tools
