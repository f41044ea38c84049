// C++: a graph of shared nodes, shortest routes with a queue of paths, and a cache of results.
#include <cstdio>
#include <functional>
#include <list>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

struct Place {
    std::string name;
    std::vector<std::pair<std::weak_ptr<Place>, int>> roads;
    int best = 1 << 30;
};

struct Path {
    int cost;
    std::shared_ptr<std::list<int>> steps;
    int at;
    bool operator<(const Path &other) const { return cost > other.cost; }
};

int main() {
    std::mt19937 dice(43);
    std::vector<std::shared_ptr<Place>> places;
    for (int at = 0; at < 3000; at++) {
        places.push_back(std::make_shared<Place>());
        places.back()->name = "place-" + std::to_string(dice()) + std::string(dice() % 30, 'x');
    }
    std::unordered_map<std::string, std::size_t> cache;
    for (auto &place : places)
        for (int road = 0; road < 5; road++)
            place->roads.push_back({places[dice() % places.size()], 1 + static_cast<int>(dice() % 90)});
    std::unordered_map<Place *, int> numbers;
    for (std::size_t at = 0; at < places.size(); at++) numbers[places[at].get()] = static_cast<int>(at);
    for (int query = 0; query < 60; query++) {
        for (auto &place : places) place->best = 1 << 30;
        std::priority_queue<Path> open;
        open.push({0, std::make_shared<std::list<int>>(), static_cast<int>(dice() % places.size())});
        while (!open.empty()) {
            Path path = open.top();
            open.pop();
            auto place = places[path.at];
            if (place->best <= path.cost) continue;
            place->best = path.cost;
            if (path.steps->size() < 12)
                cache[place->name + std::to_string(query % 4)] = path.steps->size();
            for (auto &[next, cost] : place->roads) {
                auto there = next.lock();
                if (there->best <= path.cost + cost) continue;
                auto steps = std::make_shared<std::list<int>>(*path.steps);
                steps->push_back(path.at);
                if (steps->size() > 8) steps->pop_front();
                open.push({path.cost + cost, steps, numbers[there.get()]});
            }
        }
    }
    std::printf("%zu\n", cache.size());
}
