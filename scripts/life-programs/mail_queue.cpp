// C++: lines are cut to fields, put in a hash table of queues, and written out again in the order of time.
#include <cstdio>
#include <list>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

int main() {
    std::mt19937 dice(75);
    std::unordered_map<std::string, std::list<std::vector<std::string>>> queues;
    std::map<long, std::string> due;
    size_t bytes = 0;
    for (long now = 0; now < 150000; now++) {
        std::string line = "user" + std::to_string(dice() % 900) + ";" + std::to_string(now) + ";" +
                           std::string(10 + dice() % 70, 'm');
        std::vector<std::string> fields;
        for (size_t from = 0; from <= line.size();) {
            size_t to = std::min(line.find(';', from), line.size());
            fields.push_back(line.substr(from, to - from));
            from = to + 1;
        }
        due.emplace(now + dice() % 6000, fields[0]);
        queues[fields[0]].push_back(std::move(fields));
        while (!due.empty() && due.begin()->first <= now) {
            auto queue = queues.find(due.begin()->second);
            if (queue != queues.end()) {
                for (const std::string &field : queue->second.front()) bytes += field.size();
                queue->second.pop_front();
                if (queue->second.empty()) queues.erase(queue);
            }
            due.erase(due.begin());
        }
    }
    std::printf("%zu %zu %zu\n", queues.size(), due.size(), bytes);
}
