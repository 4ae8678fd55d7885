// The judge of schedules: plays all stages against each other, with sends that never block.
#pragma once

#include <string>

#include "pipeline/schedule.h"

namespace mapl::pipeline {

// What is wrong with a schedule that has its transfers, "" when nothing is: a forward or backward
// missing or twice, a backward before its forward or out of order, a transfer without its partner,
// ends that disagree about the order on a link, a deadlock.
std::string find_problem(const Schedule& schedule);

// A grid of time (a forward takes one column, a backward two, transfers none) by stage.
std::string draw(const Schedule& schedule);

}  // namespace mapl::pipeline
