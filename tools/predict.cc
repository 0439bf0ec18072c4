// fovea predict: the most likely classes of pictures.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/io/file.h"
#include "image/decode.h"
#include "image/preprocess.h"
#include "insight/trust.h"
#include "kernels/devices.h"
#include "layers/ops/reduce.h"
#include "tools/answering.h"
#include "tools/command.h"
#include "tools/compute_type.h"
#include "tools/report.h"
#include "tools/strangeness.h"

namespace fovea::tools {
namespace {

struct PredictArguments {
  Common common;
  ModelSource source;
  std::vector<std::string> files;
  int top = 5;
  std::string device = "cpu", dtype = "f32", trust;
};

std::optional<insight::Trust> read_trust(const std::string& path) {
  if (path.empty()) return std::nullopt;
  const std::vector<std::uint8_t> bytes = read_file(path, std::size_t{1} << 20);
  return insight::Trust::from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

int run_predict(const PredictArguments& o) {
  apply_common(o.common);
  const Answering model = open_answering(o.source, compute_type(o.dtype), device_from(o.device));
  const image::Preprocessing& p = model.preprocessing;
  const std::optional<insight::Trust> trust = read_trust(o.trust);
  std::optional<FeatureDistance> distance;
  if (trust && by_features(*trust)) distance.emplace(o.source, o.trust);
  int failed = 0;
  std::int64_t number = 0;
  for (const std::string& file : o.files) {
    try {
      const image::Image picture = image::read_image(file);
      Tensor x({1, p.height, p.width, p.channels});
      image::to_floats(picture, p, x.mutable_data<float>());
      const Tensor logits = model.forward(x);
      std::vector<float> probability = softmax(logits).to_vector<float>();
      insight::Verdict verdict;
      if (trust) {
        verdict = insight::judge(*trust, logits, number++, distance ? distance->of(x) : std::vector<double>())[0];
        probability = verdict.probabilities;
      }
      std::vector<std::size_t> order(probability.size());
      std::iota(order.begin(), order.end(), 0);
      const auto top = std::min<std::size_t>(static_cast<std::size_t>(o.top), order.size());
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                        [&](std::size_t a, std::size_t b) {
                          return probability[a] != probability[b] ? probability[a] > probability[b] : a < b;
                        });
      const auto name = [&](std::size_t k) {
        return k < model.class_names.size() ? model.class_names[k] : str("class ", k);
      };
      if (o.common.json) {
        nlohmann::ordered_json line{{"file", file}, {"predictions", nlohmann::ordered_json::array()}};
        for (std::size_t i = 0; i < top; ++i) {
          line["predictions"].push_back(
              {{"class", name(order[i])}, {"index", order[i]}, {"probability", probability[order[i]]}});
        }
        if (trust) {
          line["answer"] = std::string(insight::to_string(verdict.answer));
          line["set"] = nlohmann::ordered_json::array();
          for (const int k : verdict.set) line["set"].push_back(name(static_cast<std::size_t>(k)));
          line["energy"] = verdict.energy;
          if (distance) line["distance"] = verdict.distance;
        }
        // File names need not be valid UTF-8; a replacement character is better than no answer.
        std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
      } else {
        std::printf("%s\n", file.c_str());
        if (trust && verdict.answer == insight::Answer::strange) {
          std::printf("  unsure: unlike the pictures that it was calibrated on\n");
        } else if (trust && verdict.answer == insight::Answer::ambiguous) {
          std::string set;
          for (const int k : verdict.set) set += (set.empty() ? "" : ", ") + name(static_cast<std::size_t>(k));
          std::printf("  unsure: one of %s\n", set.c_str());
        }
        for (std::size_t i = 0; i < top; ++i) {
          std::printf("  %6.2f %%  %s\n", 100 * static_cast<double>(probability[order[i]]), name(order[i]).c_str());
        }
      }
    } catch (const Error& e) {
      ++failed;
      report_failure(file, e, o.common.json);
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  auto o = std::make_shared<PredictArguments>();
  CLI::App* command = app.add_subcommand("predict", "Name what is on pictures");
  command->footer(
      "Examples:\n"
      "  fovea predict runs/birds new/*.jpg\n"
      "  fovea predict efficientnet_lite0 new/*.jpg    with weights that `fovea weights get` brought\n"
      "  fovea predict runs/birds/model.fovea new/*.jpg --top 1 --json    one JSON object per picture\n\n"
      "A picture that cannot be read is reported and the others go on; the exit code is then 1.");
  command
      ->add_option("source", o->source.path,
                   "Model file, run folder, compiled network, weight file of another framework, or name of pretrained "
                   "weights")
      ->required();
  command->add_option("files", o->files, "Pictures: JPEG, PNG, BMP or DICOM")->required();
  command->add_option("--top", o->top, "How many classes to print per picture")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option(
      "--trust", o->trust,
      "File of `fovea evaluate --calibrate`: calibrated probabilities, sets, and \"unsure\" as an answer");
  add_compute_type(*command, o->dtype);
  add_model_options(*command, o->source);
  add_device_option(*command, o->device);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_predict(*o); }; });
}

}  // namespace fovea::tools
