// Preprocessing as JSON text: what model files store.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "image/preprocess.h"

namespace fovea::image {

using nlohmann::json;

std::string to_json(const Preprocessing& p) {
  json out = {{"width", p.width},
              {"height", p.height},
              {"channels", p.channels},
              {"order", std::string(to_string(p.order))},
              {"resize_rule", std::string(to_string(p.rule))},
              {"resize_size", p.resize_size},
              {"filter", std::string(to_string(p.filter))},
              {"scale", p.scale},
              {"mean", p.mean},
              {"std", p.std}};
  if (p.mirrored) out["mirrored"] = true;
  return out.dump();
}

Preprocessing preprocessing_from_json(std::string_view text) try {
  const json in = json::parse(text.begin(), text.end());
  Preprocessing p;
  p.width = in.at("width").get<int>();
  p.height = in.at("height").get<int>();
  p.channels = in.at("channels").get<int>();
  p.order = channel_order_from_string(in.at("order").get<std::string>());
  p.rule = resize_rule_from_string(in.at("resize_rule").get<std::string>());
  p.resize_size = in.at("resize_size").get<int>();
  p.filter = filter_from_string(in.at("filter").get<std::string>());
  p.scale = in.at("scale").get<double>();
  p.mean = in.at("mean").get<std::array<float, 3>>();
  p.std = in.at("std").get<std::array<float, 3>>();
  p.mirrored = in.value("mirrored", false);
  check(p);
  return p;
} catch (const json::exception& e) {
  throw Error(ErrorKind::format, "preprocessing", str("damaged: ", e.what()));
}

}  // namespace fovea::image
