// fovea convert: a weight file into a model file of ours, or any model into another framework's names.
#include <cstdio>
#include <memory>
#include <string>

#include "core/io/safetensors.h"
#include "models/conventions_info.h"
#include "tools/command.h"
#include "tools/model_source.h"

namespace fovea::tools {
namespace {

struct ConvertArguments {
  Common common;
  ModelSource source;
  std::string out, layout = "auto", from = "auto";
};

bool is_pytorch(models::Layout layout) { return layout != models::Layout::keras && layout != models::Layout::tfslim; }

int run_convert(ConvertArguments o) {
  apply_common(o.common);
  o.source.layout = o.from;
  const Model model = open_model(o.source, o.common.seed);
  if (o.out.ends_with(".safetensors")) {
    models::Layout layout =
        o.layout == "auto" ? model.options.layout.value_or(models::Layout::fovea) : models::layout_from(o.layout);
    std::vector<std::pair<std::string, Tensor>> tensors;
    if (layout == models::Layout::fovea) {
      for (const NamedTensor& t : model.network().named_tensors()) tensors.emplace_back(t.name, t.tensor);
    } else {
      tensors = models::export_weights(model, layout);
      const std::string differs = models::convention_differences(model, layout);
      if (!differs.empty()) std::fprintf(stderr, "fovea: warning: %s\n", differs.c_str());
    }
    write_safetensors(o.out, tensors, {{"format", is_pytorch(layout) ? "pt" : "tf"}});
    if (!o.common.quiet)
      std::fprintf(stderr, "%s\n%s: %zu tensors in the names of %s\n", describe(model).c_str(), o.out.c_str(),
                   tensors.size(), std::string(to_string(layout)).c_str());
  } else if (o.out.ends_with(".fovea")) {
    if (o.layout != "auto")
      throw Error(ErrorKind::usage, "--layout", "chooses the names in a .safetensors file; a .fovea file has our own");
    save(model, o.out);
    if (!o.common.quiet) std::fprintf(stderr, "%s\n%s written\n", describe(model).c_str(), o.out.c_str());
  } else {
    throw Error(ErrorKind::usage, o.out, "what to write is told by the name's ending", "use .fovea or .safetensors");
  }
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto o = std::make_shared<ConvertArguments>();
  CLI::App* command =
      app.add_subcommand("convert", "Turn a weight file into a model file, or a model into another framework's names");
  command->footer(
      "Examples:\n"
      "  fovea convert mobilenet_v2.h5 --out mobilenet_v2.fovea\n"
      "  fovea convert runs/birds --out birds.safetensors --layout torchvision\n\n"
      "A .fovea file runs anywhere: it holds the network, its weights and its preprocessing. A .safetensors file holds "
      "weights only, in the names and axis order of --layout: load it there with load_state_dict().");
  command
      ->add_option("source", o->source.path,
                   "Model file, run folder, weight file of another framework, or name of pretrained weights")
      ->required();
  command->add_option("-o,--out", o->out, "File to write: .fovea or .safetensors")->required();
  const auto names =
      CLI::IsMember({"auto", "torchvision", "timm", "keras", "huggingface", "tfslim", "lukemelas", "fovea"});
  command
      ->add_option(
          "--layout", o->layout,
          "Names to write: auto (the source's), torchvision, timm, keras, huggingface, tfslim, lukemelas, fovea")
      ->check(names)
      ->capture_default_str();
  command->add_option("--from", o->from, "Layout of the source, where it is not told from the file")->check(names);
  command->add_option("--model", o->source.model, "Network that the weights belong to (default: told from the file)");
  command->add_option("--width", o->source.width, "Channel multiplier (default: told from the file)");
  command->add_option("--size", o->source.image_size, "Height and width of the input in pixels");
  command->add_option("--variant", o->source.variant, "tf or imagenet: see `fovea run --help`");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_convert(*o); }; });
}

}  // namespace fovea::tools
