// What trainings of several ranks are compared by.
#pragma once

#include "train/trainer.h"

namespace fovea::test {

/// Of 27 pictures: 5 epochs of 4 steps; the last batch has 3.
inline TrainerOptions ranks_options(Communicator* ranks = nullptr) {
  TrainerOptions o;
  o.optimizer = SGD{.lr = 0.02, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4};
  o.epochs = 5;
  o.batch_size = 8;
  o.seed = 11;
  o.sync_batch_norm = true;
  o.ranks = ranks;
  return o;
}

}  // namespace fovea::test
