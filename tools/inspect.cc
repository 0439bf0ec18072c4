// fovea inspect: what a weight file holds, and which network it fits.
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/conventions_info.h"
#include "models/weights/weight_file.h"
#include "tools/command.h"
#include "tools/model_source.h"
#include "tools/pretrained.h"
#include "tools/run_folder.h"
#include "tools/table.h"

namespace fovea::tools {
namespace {

struct InspectArguments {
  Common common;
  ModelSource source;
  bool all = false;
};

constexpr std::size_t kShown = 12;

void list_names(const char* what, const std::vector<std::string>& names, bool all) {
  if (names.empty()) return;
  std::printf("  %s (%zu):\n", what, names.size());
  for (std::size_t i = 0; i < names.size() && (all || i < kShown); ++i) std::printf("    %s\n", names[i].c_str());
  if (!all && names.size() > kShown) std::printf("    … %zu more (--all)\n", names.size() - kShown);
}

int run_inspect(const InspectArguments& o) {
  const std::string path = weights_path(model_or_given(o.source.path));
  const weights::WeightFile file = weights::read_weight_file(path);
  std::int64_t elements = 0;
  std::map<std::string, std::int64_t> types;
  for (const weights::FileTensor& t : file.tensors) {
    elements += t.shape.numel();
    types[std::string(to_string(t.dtype))] += 1;
  }
  std::string type_list;
  for (const auto& [type, count] : types) type_list += str(type_list.empty() ? "" : ", ", count, " ", type);
  std::optional<models::Recognition> fit;
  std::string unknown;
  try {
    fit = models::recognize(file, load_options(o.source));
  } catch (const Error& e) {
    unknown = e.what();
  }
  // A model file brings its own network, which need not be one of the zoo's.
  std::optional<Model> own;
  if (!fit && file.find_metadata("fovea.version")) own = load_model(path);
  if (o.common.json) {
    nlohmann::ordered_json out{{"file", o.source.path}, {"format", file.format}, {"elements", elements}};
    if (fit) {
      out["model"] = {{"name", fit->architecture},
                      {"layout", to_string(*fit->options.layout)},
                      {"width", fit->options.width},
                      {"depth", fit->options.depth},
                      {"classes", fit->options.top == models::Top::classifier ? fit->options.classes : 0},
                      {"fits", fit->fits()},
                      {"missing", fit->missing},
                      {"unexpected", fit->unexpected},
                      {"misshapen", fit->misshapen}};
    } else if (own) {
      out["model"] = {{"name", own->architecture}, {"classes", own->class_names.size()}, {"own", true}};
    }
    out["tensors"] = nlohmann::ordered_json::array();
    for (const weights::FileTensor& t : file.tensors) {
      out["tensors"].push_back({{"name", t.name},
                                {"shape", std::vector<std::int64_t>(t.shape.begin(), t.shape.end())},
                                {"dtype", to_string(t.dtype)}});
    }
    std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  std::printf("%s: %s, %zu tensors (%s), %s elements\n", o.source.path.c_str(), file.format.c_str(),
              file.tensors.size(), type_list.c_str(), grouped(elements).c_str());
  for (const auto& [key, value] : file.metadata) {
    if (value.size() <= 60) std::printf("  %s: %s\n", key.c_str(), value.c_str());
  }
  if (fit) {
    Model model = models::preview(*fit, o.source.image_size);
    fill_in(model, path, true);
    std::printf("%s %s\n", fit->fits() ? "fits:" : "comes nearest to:", describe(model).c_str());
    std::printf("  pictures: %s\n", describe(model.preprocessing).c_str());
    if (fit->fits() && !models::undecided(*fit).empty()) std::printf("  note: %s\n", models::undecided(*fit).c_str());
    list_names("missing", fit->missing, o.all);
    list_names("unexpected", fit->unexpected, o.all);
    list_names("misshapen", fit->misshapen, o.all);
  } else if (own) {
    std::printf("holds a network of its own: %s\n", describe(*own).c_str());
    std::printf("  pictures: %s\n", describe(own->preprocessing).c_str());
  } else {
    std::printf("fits no network of the zoo: %s\n", unknown.c_str());
  }
  std::printf("\n");
  Table table({"tensor", "shape", "type"});
  for (std::size_t i = 0; i < file.tensors.size() && (o.all || i < kShown); ++i) {
    const weights::FileTensor& t = file.tensors[i];
    table.row({t.name, t.shape.to_string(), std::string(to_string(t.dtype))});
  }
  table.print();
  if (!o.all && file.tensors.size() > kShown)
    std::printf("… %zu more (--all lists every tensor)\n", file.tensors.size() - kShown);
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto o = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "Print what a weight file holds and which network it fits");
  command->footer(
      "Examples:\n"
      "  fovea inspect mobilenet_v2.h5\n"
      "  fovea inspect checkpoint.pth --all\n"
      "  fovea inspect runs/birds\n\n"
      "Read are safetensors, Keras .h5, .weights.h5 and .keras, PyTorch .pth and .pt of every age, TensorFlow "
      "checkpoints and SavedModel folders. Nothing in a file is executed.");
  command
      ->add_option("file", o->source.path,
                   "Weight file, checkpoint prefix, SavedModel folder, or name of pretrained weights")
      ->required();
  command->add_flag("--all", o->all, "List every tensor");
  add_model_options(*command, o->source);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_inspect(*o); }; });
}

}  // namespace fovea::tools
