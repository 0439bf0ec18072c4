// The numbers that data/make_reference.py wrote.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>

inline const nlohmann::json& reference() {
  static const nlohmann::json data = [] {
    std::ifstream in(FOVEA_SOURCE_DIR "/tests/train/data/reference.json");
    return nlohmann::json::parse(in);
  }();
  return data;
}
