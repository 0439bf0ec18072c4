// fovea explain: which parts of a picture speak for a class.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "image/decode.h"
#include "image/encode.h"
#include "image/preprocess.h"
#include "insight/explain.h"
#include "insight/render.h"
#include "tools/command.h"
#include "tools/model_source.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

struct ExplainArguments {
  Common common;
  ModelSource source;
  std::vector<std::string> files;
  std::string method = "gradcam", target, out = "explained", fill, baseline = "black";
  insight::ExplainOptions explain;
  int samples = 0, side = 384;
  bool csv = false, fast = false;
};

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// A number, a name, or the only name that has the text in it.
int class_of(const std::string& text, const Model& model) {
  int index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error == std::errc() && end == text.data() + text.size()) return index;
  std::vector<std::size_t> found;
  const std::string wanted = lower_case(text);
  for (std::size_t k = 0; k < model.class_names.size(); ++k) {
    const std::string name = lower_case(model.class_names[k]);
    if (name == wanted) return static_cast<int>(k);
    if (name.find(wanted) != std::string::npos) found.push_back(k);
  }
  if (found.size() == 1) return static_cast<int>(found[0]);
  std::string hint;
  for (std::size_t i = 0; i < found.size() && i < 8; ++i) hint += (i ? ", " : "") + model.class_names[found[i]];
  throw Error(ErrorKind::usage, "--class",
              str(found.empty() ? "no class is named '" : "several classes have '", text, "' in their name"),
              found.empty() ? (model.class_names.empty() ? "the model has no class names: give a number" : "") : hint);
}

std::string csv_of(const Tensor& map) {
  std::string out;
  char text[32];
  const float* v = map.data<float>();
  for (std::int64_t y = 0; y < map.dim(0); ++y) {
    for (std::int64_t x = 0; x < map.dim(1); ++x) {
      std::snprintf(text, sizeof text, "%s%.7g", x ? "," : "", static_cast<double>(v[y * map.dim(1) + x]));
      out += text;
    }
    out += '\n';
  }
  return out;
}

/// <folder>/<name of the picture>.<method>, numbered where two pictures have one name.
std::string output_stem(const ExplainArguments& o, const std::string& file, std::set<std::string>& taken) {
  const std::string stem = fs::path(file).stem().string() + "." + o.method;
  std::string name = stem;
  for (int n = 2; !taken.insert(name).second; ++n) name = str(stem, ".", n);
  return (fs::path(o.out) / name).string();
}

int run_explain(const ExplainArguments& given) {
  ExplainArguments o = given;
  apply_common(o.common);
  const Model model = open_model(o.source);
  insight::ExplainOptions& e = o.explain;
  e.method = insight::method_from_string(o.method);
  e.seed = o.common.seed;
  e.cancel = &catch_interrupts();
  if (!o.target.empty()) e.target = class_of(o.target, model);
  if (!o.fill.empty()) e.occlusion.fill = e.lime.fill = insight::fill_from_string(o.fill);
  e.integrated_gradients.baseline = insight::fill_from_string(o.baseline);
  e.integrated_gradients.precise = !o.fast;
  if (o.samples > 0) e.lime.samples = e.smooth_grad.samples = e.integrated_gradients.steps = o.samples;
  insight::Explainer explainer(model);
  make_folders(o.out);
  int failed = 0;
  std::set<std::string> taken;
  for (const std::string& file : o.files) {
    try {
      const image::Image picture = image::read_image(file);
      const image::Preprocessing& p = model.preprocessing;
      Tensor x({1, p.height, p.width, p.channels});
      image::to_floats(picture, p, x.mutable_data<float>());
      insight::Explanation why;
      {
        ProgressBar bar(!o.common.quiet && !o.common.json);
        const std::string name = fs::path(file).filename().string();
        e.on_progress = [&](std::int64_t done, std::int64_t total) { bar.update(name, done, total, -1, ""); };
        why = explainer(x, e);
      }
      const auto k = static_cast<std::size_t>(why.target);
      const std::string name = k < model.class_names.size() ? model.class_names[k] : str("class ", why.target);
      const std::string stem = output_stem(o, file, taken);
      image::write_png(
          stem + ".png",
          insight::render(insight::view_of(picture, p, 2 * o.side), why,
                          {.class_name = name, .caption = fs::path(file).filename().string(), .side = o.side}));
      std::vector<std::pair<std::string, Tensor>> tensors{{"map", why.map}, {"raw", why.raw}};
      if (why.segments.defined()) tensors.emplace_back("segments", why.segments.to(DType::i64));
      write_safetensors(stem + ".safetensors", tensors,
                        {{"format", "fovea"},
                         {"method", o.method},
                         {"class", name},
                         {"index", str(why.target)},
                         {"layer", why.layer}});
      if (o.csv) write_file(stem + ".csv", csv_of(why.map));
      if (o.common.json) {
        nlohmann::ordered_json line{{"file", file},
                                    {"method", o.method},
                                    {"class", name},
                                    {"index", why.target},
                                    {"probability", why.probability},
                                    {"overlay", stem + ".png"},
                                    {"map", stem + ".safetensors"}};
        if (!why.layer.empty()) line["layer"] = why.layer;
        if (e.method == insight::Method::integrated_gradients) line["completeness"] = why.completeness;
        if (e.method == insight::Method::lime) {
          line["fit"] = why.fit;
          line["top_segments"] = why.top;
          if (e.lime.seeds > 1) line["stability"] = why.stability;
        }
        std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
      } else {
        std::printf("%s  %s %.2f %%  %s.png\n", file.c_str(), name.c_str(), 100 * why.probability, stem.c_str());
      }
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage || error.kind() == ErrorKind::cancelled) throw;
      ++failed;
      report_failure(file, error, o.common.json);
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto o = std::make_shared<ExplainArguments>();
  CLI::App* command = app.add_subcommand("explain", "Show which parts of pictures speak for a class");
  command->footer(
      "Examples:\n"
      "  fovea explain runs/birds new/*.jpg --out why\n"
      "  fovea explain efficientnet_lite0 cat.jpg --class \"tiger cat\" --method integrated-gradients\n"
      "  fovea explain runs/birds owl.jpg --method lime --seeds 5    and how far five runs agree\n\n"
      "Methods: gradcam (fast; start here), gradcam++, scorecam, eigencam (the same for every class), "
      "integrated-gradients, smoothgrad (single pixels), occlusion, lime (pieces of the picture; need no gradients). "
      "Each picture gets NAME.METHOD.png and NAME.METHOD.safetensors (tensor `map` at the network's input size, `raw` "
      "as computed) in the folder --out. A map shows what the network looks at, not whether it is right to.");
  command
      ->add_option("source", o->source.path,
                   "Model file, run folder, weight file of another framework, or name of pretrained weights")
      ->required();
  command->add_option("files", o->files, "Pictures: JPEG, PNG, BMP or DICOM")->required();
  std::vector<std::string> methods;
  for (const insight::Method m : insight::all_methods()) methods.emplace_back(insight::to_string(m));
  command->add_option("--method", o->method, "How")->check(CLI::IsMember(methods))->capture_default_str();
  command->add_option("--class", o->target, "Name or number of the class to explain (default: the most likely one)");
  command->add_option("--layer", o->explain.layer, "CAMs: the layer to look at (default: the last with an extent)");
  command->add_option("--out", o->out, "Folder for the results")->capture_default_str();
  command->add_flag("--csv", o->csv, "Write the map as comma-separated values too");
  command->add_option("--side", o->side, "Pixels along each picture in the overlay")
      ->check(CLI::Range(64, 2048))
      ->capture_default_str();
  const std::string group = "Method";
  command
      ->add_option("--samples", o->samples,
                   "Passes: integrated-gradients' steps (50), smoothgrad's noisy pictures (50), lime's pictures (1000)")
      ->check(CLI::Range(2, 10000))
      ->group(group);
  command
      ->add_flag("--fast", o->fast,
                 "integrated-gradients: compute in f32, in a fifth of the time, with errors of up to 2 %")
      ->group(group);
  command->add_option("--baseline", o->baseline, "integrated-gradients: black, grey, mean or blur")
      ->check(CLI::IsMember({"black", "grey", "mean", "blur"}))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--fill", o->fill,
                   "What stands where pixels are taken away: black, grey, mean or blur (default: grey for occlusion, "
                   "mean for lime)")
      ->check(CLI::IsMember({"black", "grey", "mean", "blur"}))
      ->group(group);
  command
      ->add_option("--window", o->explain.occlusion.window,
                   "occlusion: side of the square in pixels of the input (default: a seventh)")
      ->check(CLI::Range(1, 4096))
      ->group(group);
  command->add_option("--segments", o->explain.lime.segments, "lime: about so many pieces")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str()
      ->group(group);
  command->add_option("--keep", o->explain.lime.keep, "lime: probability of a piece to stay")
      ->check(CLI::Range(0.01, 0.99))
      ->capture_default_str()
      ->group(group);
  command->add_option("--seeds", o->explain.lime.seeds, "lime: fits to average, whose agreement is told")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->group(group);
  add_model_options(*command, o->source);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_explain(*o); }; });
}

}  // namespace fovea::tools
