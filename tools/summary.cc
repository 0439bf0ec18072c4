// fovea summary: the layer table of a network.
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/model.h"
#include "tools/command.h"
#include "tools/progress.h"
#include "tools/run_folder.h"

namespace fovea::tools {
namespace {

struct Options {
  Common common;
  std::string model;
  int size = 0;
  int classes = 10;
  std::int64_t batch = 1;
};

/// 1234567 → "1 234 567".
std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (int i = static_cast<int>(text.size()) - 3; i > 0; i -= 3) text.insert(static_cast<std::size_t>(i), " ");
  return text;
}

std::string padded(const std::string& text, std::size_t columns, bool right = false) {
  const std::size_t width = text_width(text);
  const std::string space(columns > width ? columns - width : 0, ' ');
  return right ? space + text : text + space;
}

int run(const Options& o) {
  const bool file = o.model.find('.') != std::string::npos || o.model.find('/') != std::string::npos ||
                    std::filesystem::exists(o.model);
  Model model =
      file ? load_model(model_path(o.model)) : models::create(o.model, {.classes = o.classes, .image_size = o.size});
  if (file && o.size > 0) model.preprocessing.width = model.preprocessing.height = o.size;
  const OpList list = model.capture(o.batch);
  struct Row {
    std::string scope, op, output, detail;
    std::int64_t parameters = 0, macs = 0, bytes = 0;
  };
  std::vector<Row> rows;
  std::vector<char> counted(list.values.size());
  std::int64_t parameters = 0, macs = 0, activations = 0, buffers = 0;
  for (const NamedTensor& named : model.network().named_tensors()) {
    (named.is_buffer ? buffers : parameters) += named.tensor.numel();
  }
  std::map<const void*, bool> is_buffer;
  for (const NamedTensor& named : model.network().buffers()) is_buffer[named.tensor.identity()] = true;
  for (const OpList::Node& node : list.nodes) {
    std::vector<TensorSpec> in, out;
    Row row{node.scope, std::string(node.op->type()), {}, node.op->attributes().to_string()};
    for (const int v : node.inputs) {
      in.push_back(v < 0 ? TensorSpec{{}, DType::f32, true} : list.values[static_cast<std::size_t>(v)].spec);
      if (v < 0 || std::exchange(counted[static_cast<std::size_t>(v)], 1)) continue;
      const OpList::Value& value = list.values[static_cast<std::size_t>(v)];
      if (value.kind == OpList::ValueKind::parameter && !is_buffer.contains(value.tensor.identity()))
        row.parameters += value.spec.shape.numel();
    }
    for (const int v : node.outputs) {
      out.push_back(list.values[static_cast<std::size_t>(v)].spec);
      row.output += str(row.output.empty() ? "" : ", ", out.back().shape);
      row.bytes += out.back().shape.numel() * static_cast<std::int64_t>(dtype_size(out.back().dtype));
    }
    row.macs = node.op->macs(in, out);
    macs += row.macs;
    activations += row.bytes;
    rows.push_back(std::move(row));
  }
  if (o.common.json) {
    nlohmann::ordered_json out{{"model", o.model},
                               {"architecture", model.architecture},
                               {"parameters", parameters},
                               {"buffers", buffers},
                               {"macs", macs},
                               {"activation_bytes", activations},
                               {"layers", nlohmann::ordered_json::array()}};
    for (const Row& r : rows) {
      out["layers"].push_back(
          {{"name", r.scope}, {"op", r.op}, {"output", r.output}, {"parameters", r.parameters}, {"macs", r.macs}});
    }
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::size_t name_width = 6, op_width = 4, out_width = 6;
  for (const Row& r : rows) {
    name_width = std::max(name_width, text_width(r.scope));
    op_width = std::max(op_width, text_width(r.op));
    out_width = std::max(out_width, text_width(r.output));
  }
  const auto print = [&](const std::string& a, const std::string& b, const std::string& c, const std::string& d,
                         const std::string& e) {
    std::printf("%s  %s  %s  %s  %s\n", padded(a, name_width).c_str(), padded(b, op_width).c_str(),
                padded(c, out_width).c_str(), padded(d, 11, true).c_str(), padded(e, 13, true).c_str());
  };
  print("layer", "op", "result", "parameters", "multiply-adds");
  std::string rule;
  for (std::size_t i = 0; i < name_width + op_width + out_width + 32; ++i) rule += "─";
  std::printf("%s\n", rule.c_str());
  for (const Row& r : rows)
    print(r.scope, r.op, r.output, r.parameters ? grouped(r.parameters) : "", r.macs ? grouped(r.macs) : "");
  std::printf("%s\n", rule.c_str());
  print("total", "", "", grouped(parameters), grouped(macs));
  std::printf("\ninput %lld×%d×%d×%d, weights %.2f MB, results of all layers %.2f MB in f32\n",
              static_cast<long long>(o.batch), model.preprocessing.height, model.preprocessing.width,
              model.preprocessing.channels, static_cast<double>(parameters + buffers) * 4 / 1e6,
              static_cast<double>(activations) / 1e6);
  if (!model.class_names.empty()) {
    std::string names;
    for (const std::string& n : model.class_names) names += str(names.empty() ? "" : ", ", n);
    std::printf("%zu classes: %s\n", model.class_names.size(), names.c_str());
  }
  return 0;
}

}  // namespace

void add_summary(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("summary", "Print the layers of a network with shapes, parameters and multiply-adds");
  command->footer(
      "Examples:\n"
      "  fovea summary small_cnn\n"
      "  fovea summary runs/birds/model.fovea --json");
  command->add_option("model", o->model, "Name of a network, a .fovea file, or a run folder")->required();
  command->add_option("--size", o->size, "Height and width of the input in pixels")->check(CLI::Range(1, 1 << 14));
  command->add_option("--classes", o->classes, "Number of classes of a named network")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--batch", o->batch, "Pictures per batch")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run(*o); }; });
}

}  // namespace fovea::tools
