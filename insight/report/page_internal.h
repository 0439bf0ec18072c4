// Internal: the sections of the page, each as HTML, empty where there is nothing to say.
#pragma once

#include <string>

#include "insight/report/report.h"

namespace fovea::insight::html {

/// "ants", or "class 3" where classes have no names: as it is, and as HTML.
std::string plain_name(const Report& report, std::size_t k);
std::string class_name(const Report& report, std::size_t k);

/// In what way a slice fares worse than the rest by more than chance, as HTML; empty: in none that is known.
std::string verdict(const Report& report, const SliceDetail& slice);
/// Whether temperature scaling makes answers better.
bool helps(const Report& report);

std::string summary(const Report& report);
std::string card(const Report& report);
std::string data(const Report& report);
std::string training(const Report& report);
std::string confusion(const Report& report);
std::string classes(const Report& report);
std::string decisions(const Report& report);
std::string calibration(const Report& report);
std::string slices(const Report& report);
std::string cases(const Report& report);
std::string cost(const Report& report);
std::string glossary(const Report& report);

}  // namespace fovea::insight::html
