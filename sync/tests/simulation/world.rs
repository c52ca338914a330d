//! The wire, the clock, and what befalls a region.

use crate::dice::Dice;
use crate::member::Member;
use crate::people::paper_key;
use crate::rogue::{VICES, Vice, say, spoilt};
use crate::scene::{log, provider_key, step};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use verge_sync::RecordId;
use verge_sync::net::{Fault, Message, ROUND_INTERVAL_MS, Wall};
use verge_sync::record::{Author, Kind, Record};

/// What a seed decides before anything happens.
pub(crate) struct Story {
    pub(crate) honest_count: u8,
    pub(crate) rogue_count: u8,
    pub(crate) act_count: usize,
    pub(crate) length_ms: u64,
    /// Whether a key on paper is one of three votes of a region of two.
    pub(crate) has_paper: bool,
}

impl Story {
    /// A larger region than most, of honest members.
    pub(crate) fn large(honest_count: u8) -> Self {
        Self {
            honest_count,
            rogue_count: 0,
            act_count: 20 * usize::from(honest_count),
            length_ms: 400_000,
            has_paper: false,
        }
    }

    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = 1 + u8::try_from(dice.below(9)).unwrap();
        let rogue_max = usize::from((count - 1) / 2);
        let rogue_count = u8::try_from(dice.below(rogue_max + 1)).unwrap();
        Self {
            honest_count: count - rogue_count,
            rogue_count,
            act_count: 30 + dice.below(120),
            length_ms: dice.between(20_000, 400_000),
            has_paper: count == 2 && dice.once_in(2),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// From, to, of which connection, what.
    Deliver(usize, usize, u64, Vec<u8>),
    Turn(usize),
    Commit(usize),
    Act(usize),
    Misdeed(usize),
    Crash(usize),
    Start(usize),
    /// Members whose bit is set are cut off from the others.
    Cut(u64),
    Heal,
    Meet(usize, usize),
    /// What the one says does not reach the other any more.
    Mute(usize, usize),
    /// Nothing came over the connection for a while: it is given up.
    Break(usize, usize, u64),
    /// The clock of a machine that slept goes ahead, or one is set back.
    Jump(usize, i64),
    /// The disk is gone too.
    Die(usize),
    /// Looks for the lists of removals.
    Fetch(usize),
    /// Two providers remove one another at the same moment.
    Quarrel(usize, usize),
}

pub(crate) struct World {
    pub(crate) seed: u64,
    dice: Dice,
    now_ms: u64,
    pub(crate) members: Vec<Member>,
    /// Which connection is open between two members.
    links: BTreeMap<(usize, usize), u64>,
    /// When the last message of a connection arrives: they do not overtake one another.
    last_ms: BTreeMap<(usize, usize), u64>,
    cut: u64,
    /// The steps that anybody knew when the region was cut.
    known_at_cut: BTreeSet<RecordId>,
    mute: BTreeSet<(usize, usize)>,
    /// Ways of connections on which something was lost: nothing that follows arrives.
    broken: BTreeSet<(usize, usize, u64)>,
    /// How far each clock is ahead, or behind.
    jumps_ms: Vec<i64>,
    /// Deploys whose accepting node is gone for good, and which another honest node had.
    pub(crate) rescued: BTreeSet<RecordId>,
    /// Steps by which two providers removed one another.
    pub(crate) quarrels: Vec<[RecordId; 2]>,
    /// When each member's next turn is planned.
    wakes: BTreeMap<usize, u64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    trace: u64,
    /// What was put on the wire.
    pub(crate) sent_bytes: usize,
}

impl World {
    pub(crate) fn new(seed: u64, story: &Story) -> Self {
        let count = story.honest_count + story.rogue_count;
        let paper = story.has_paper.then(paper_key);
        let mut founding = step(count);
        founding.recovery_key = paper.as_ref().map(|key| *key.provider().as_bytes());
        let first = Author::found(&provider_key(0), log(0), founding).unwrap();
        let first = Arc::new(first);
        let mut dice = Dice::new(seed ^ 0xa5a5_a5a5);
        let mut members: Vec<Member> = (0..count)
            .map(|number| {
                // The last ones: the founder is honest, as everybody knows the first step.
                let vice = (number >= story.honest_count).then(|| VICES[dice.below(VICES.len())]);
                Member::new(number, &first, vice)
            })
            .collect();
        let on_paper = |key| Author::provider(&key, first.region(), (log(50), 0));
        members[0].paper = paper.map(on_paper);
        let jumps_ms = vec![0; members.len()];
        Self {
            seed,
            dice,
            now_ms: 0,
            members,
            links: BTreeMap::new(),
            last_ms: BTreeMap::new(),
            cut: 0,
            known_at_cut: BTreeSet::new(),
            mute: BTreeSet::new(),
            broken: BTreeSet::new(),
            jumps_ms,
            rescued: BTreeSet::new(),
            quarrels: Vec::new(),
            wakes: BTreeMap::new(),
            events: BinaryHeap::new(),
            count: 0,
            trace: 0,
            sent_bytes: 0,
        }
    }

    /// A number that differs if anything went otherwise.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    fn at(&mut self, when_ms: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((when_ms, self.count, event)));
    }

    fn plan(&mut self, story: &Story) {
        let count = self.members.len();
        for a in 0..count {
            let when = self.dice.between(0, 1_000);
            self.at(when, Event::Act(a));
            for b in a + 1..count {
                let when = self.dice.between(0, 2_000);
                self.at(when, Event::Meet(a, b));
            }
        }
        for _ in 0..story.act_count {
            let (when, who) = (
                self.dice.between(0, story.length_ms),
                self.dice.below(count),
            );
            self.at(when, Event::Act(who));
            if !self.members[who].is_honest() {
                self.at(when + 1, Event::Misdeed(who));
            }
        }
        for _ in 0..self.dice.below(4) {
            let when = self.dice.between(0, story.length_ms);
            let mask = u64::try_from(self.dice.below(1 << count)).unwrap();
            self.at(when, Event::Cut(mask));
            let until = when + self.dice.between(100, 200_000);
            self.at(until, Event::Heal);
        }
        for _ in 0..self.dice.below(6) {
            let (when, who) = (
                self.dice.between(0, story.length_ms),
                self.dice.below(count),
            );
            self.at(when, Event::Crash(who));
            let until = when + self.dice.between(1, 60_000);
            self.at(until, Event::Start(who));
        }
        self.plan_troubles(story);
    }

    fn plan_troubles(&mut self, story: &Story) {
        let count = self.members.len();
        for _ in 0..self.dice.below(4) {
            let (from, to) = (self.dice.below(count), self.dice.below(count));
            let when = self.dice.between(0, story.length_ms);
            self.at(when, Event::Mute(from, to));
        }
        for _ in 0..self.dice.below(3) {
            let (who, far) = (self.dice.below(count), self.dice.between(1, 10_000_000));
            let far = i64::try_from(far).unwrap();
            let when = self.dice.between(0, story.length_ms);
            let ahead = if self.dice.once_in(2) { far } else { -far };
            self.at(when, Event::Jump(who, ahead));
        }
        let honest = usize::from(story.honest_count);
        let votes_twice = |member: &Member| member.vice == Some(Vice::Equivocates);
        let is_tempted = self.members.iter().any(votes_twice);
        if honest > 1 && (is_tempted || self.dice.once_in(2)) {
            let (a, b) = (self.dice.below(honest), self.dice.below(honest));
            let when = self.dice.between(2_000, story.length_ms);
            if a != b {
                self.at(when, Event::Quarrel(a, b));
            }
        }
        if honest > 2 && self.dice.once_in(4) {
            let (who, when) = (
                self.dice.below(honest),
                self.dice.between(0, story.length_ms),
            );
            self.at(when, Event::Die(who));
        }
    }

    /// Who of a side that is cut off could ever vote there.
    pub(crate) fn side(&self, of: usize) -> Vec<usize> {
        let members = 0..self.members.len();
        members
            .filter(|other| !self.are_apart(of, *other))
            .collect()
    }

    pub(crate) fn is_cut(&self) -> bool {
        let members = 0..self.members.len();
        members.into_iter().any(|other| self.are_apart(0, other))
    }

    pub(crate) fn known_at_cut(&self) -> &BTreeSet<RecordId> {
        &self.known_at_cut
    }

    /// Lives through the story, then heals and lets the nodes talk for five more rounds.
    pub(crate) fn live(&mut self, story: &Story) {
        self.plan(story);
        self.run_until(story.length_ms + 200_000);
        self.happen(Event::Heal);
        for who in 0..self.members.len() {
            self.happen(Event::Start(who));
            self.happen(Event::Fetch(who));
        }
        // Everybody who has a vote gives it while all can hear of it.
        self.run_until(self.now_ms + 2 * ROUND_INTERVAL_MS);
        for who in 0..self.members.len() {
            if let Some(effect) = self.members[who]
                .effect()
                .filter(|_| self.members[who].is_honest())
            {
                self.members[who].vote(&effect);
                self.settle(who);
            }
        }
        self.run_until(self.now_ms + 5 * ROUND_INTERVAL_MS);
    }

    fn run_until(&mut self, end_ms: u64) {
        while let Some(Reverse((when, _, _))) = self.events.peek() {
            if *when > end_ms {
                break;
            }
            let Some(Reverse((when, _, event))) = self.events.pop() else {
                break;
            };
            self.now_ms = self.now_ms.max(when);
            self.happen(event);
        }
        self.now_ms = end_ms;
    }

    fn happen(&mut self, event: Event) {
        let weight = match &event {
            Event::Deliver(from, to, _, bytes) => bytes.len() + from * 7 + to,
            Event::Turn(who) => *who,
            _ => 1,
        };
        let weight = u64::try_from(weight).unwrap() ^ self.now_ms;
        self.trace = self.trace.wrapping_mul(0x0100_0000_01b3) ^ weight;
        match event {
            Event::Deliver(from, to, link, bytes) => self.deliver(from, to, link, bytes),
            Event::Turn(who) => {
                if self.wakes.get(&who) == Some(&self.now_ms) {
                    self.wakes.remove(&who);
                    self.settle(who);
                }
            }
            Event::Commit(who) => self.members[who].commit(),
            Event::Act(who) => {
                self.members[who].act(&mut self.dice);
                self.settle(who);
            }
            Event::Misdeed(who) => self.misdeed(who),
            Event::Crash(who) => self.crash(who),
            Event::Start(who) => {
                if self.members[who].exchange.is_none() {
                    self.members[who].start();
                }
                self.meet_all();
            }
            Event::Cut(mask) => {
                self.check_sides();
                self.divide(mask);
            }
            Event::Heal => {
                self.check_sides();
                self.cut = 0;
                self.mute.clear();
                self.meet_all();
            }
            Event::Mute(from, to) => {
                self.mute.insert((from, to));
            }
            Event::Break(a, b, link) => {
                if self.links.get(&(a.min(b), a.max(b))) == Some(&link) {
                    self.part(a, b);
                    let when = self.now_ms + self.dice.between(1_000, 30_000);
                    self.at(when, Event::Meet(a, b));
                }
            }
            Event::Jump(who, ahead) => {
                self.jumps_ms[who] += ahead;
                self.set_wall(who);
                self.settle(who);
            }
            Event::Die(who) => self.die(who),
            Event::Fetch(who) => self.fetch(who),
            Event::Quarrel(a, b) => self.quarrel(a, b),
            Event::Meet(a, b) => self.meet(a, b),
        }
    }

    /// Each proposes before it hears of the other; who votes twice does so while it is new.
    fn quarrel(&mut self, a: usize, b: usize) {
        let provider = |who: usize| provider_key(self.members[who].number).provider();
        let (first, second) = (provider(a), provider(b));
        let steps = [self.members[a].expel(second), self.members[b].expel(first)];
        if let [Some(first), Some(second)] = steps {
            self.quarrels.push([first, second]);
        }
        self.settle(a);
        self.settle(b);
        for who in 0..self.members.len() {
            let when = self.now_ms + self.dice.between(100, 3_000);
            if self.members[who].vice == Some(Vice::Equivocates) {
                self.at(when, Event::Misdeed(who));
            }
        }
    }

    fn crash(&mut self, who: usize) {
        self.members[who].crash();
        for other in 0..self.members.len() {
            self.part(who, other);
        }
    }

    fn die(&mut self, who: usize) {
        let others = self.members.iter().enumerate();
        let others: Vec<&Member> = others
            .filter(|(other, member)| *other != who && member.is_honest() && !member.is_dead)
            .map(|(_, member)| member)
            .collect();
        let saved = |id: &&RecordId| others.iter().any(|other| other.has_written(id));
        let rescued = self.members[who].acknowledged.iter().filter(saved);
        self.rescued.extend(rescued.copied());
        self.crash(who);
        self.members[who].is_dead = true;
    }

    /// Looks for the lists that the current step and the proposals name, at those it can reach.
    fn fetch(&mut self, who: usize) {
        let Some(effect) = self.members[who].effect() else {
            return;
        };
        let proposed = effect.chain.proposals.iter().map(|of| &of.step.body);
        let steps = proposed.chain([&effect.chain.current().body]);
        let wanted: BTreeSet<_> = steps.flat_map(|step| step.removed.values()).collect();
        for list in wanted {
            if self.members[who].lists.contains_key(list) {
                continue;
            }
            let reached = (0..self.members.len())
                .filter(|other| self.links.contains_key(&(who.min(*other), who.max(*other))));
            let mut found = reached.filter_map(|other| self.members[other].lists.get(list));
            if let Some(found) = found.next().cloned() {
                self.members[who].learn(found);
            } else {
                let when = self.now_ms + 5_000;
                self.at(when, Event::Fetch(who));
            }
        }
    }

    fn divide(&mut self, mask: u64) {
        self.known_at_cut = self.members.iter().flat_map(Member::steps).collect();
        self.cut = mask;
        for a in 0..self.members.len() {
            for b in a + 1..self.members.len() {
                if self.are_apart(a, b) {
                    self.part(a, b);
                }
            }
        }
    }

    /// A node keeps eight connections; a small region is a whole mesh.
    fn are_neighbours(&self, a: usize, b: usize) -> bool {
        let count = self.members.len();
        let distance = a.abs_diff(b).min(count - a.abs_diff(b));
        count <= 9 || [1, 2, 5, 11].contains(&distance)
    }

    pub(crate) fn are_apart(&self, a: usize, b: usize) -> bool {
        (self.cut >> a) & 1 != (self.cut >> b) & 1
    }

    fn meet_all(&mut self) {
        for a in 0..self.members.len() {
            for b in a + 1..self.members.len() {
                let when = self.now_ms + self.dice.between(1, 5_000);
                self.at(when, Event::Meet(a, b));
            }
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        let key = (a.min(b), a.max(b));
        let are_up = [a, b]
            .iter()
            .all(|who| self.members[*who].exchange.is_some());
        let is_apart = self.are_apart(a, b) || !self.are_neighbours(a, b);
        if !are_up || is_apart || self.links.contains_key(&key) {
            return;
        }
        self.count += 1;
        self.links.insert(key, self.count);
        let ids = [self.members[a].id, self.members[b].id];
        for (who, peer) in [(a, ids[1]), (b, ids[0])] {
            let clock_ms = self.clock_ms(who);
            let exchange = self.members[who].exchange.as_mut().unwrap();
            exchange.connect(peer, clock_ms);
            self.settle(who);
        }
    }

    fn part(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_none() {
            return;
        }
        let ids = [self.members[a].id, self.members[b].id];
        for (who, peer) in [(a, ids[1]), (b, ids[0])] {
            if let Some(exchange) = &mut self.members[who].exchange {
                exchange.disconnect(&peer);
            }
        }
    }

    /// Every clock begins somewhere else, so far on that none is set back to before its beginning.
    fn clock_ms(&self, who: usize) -> u64 {
        let begun_ms = 100_000_000 + u64::try_from(who).unwrap() * 1_000_000;
        (self.now_ms + begun_ms)
            .checked_add_signed(self.jumps_ms[who])
            .unwrap()
    }

    /// What the machine takes for the time of day: 1970, or any other, and sure of it or not.
    fn set_wall(&mut self, who: usize) {
        let clock_ms = self.clock_ms(who);
        let wall = Wall {
            seconds: [0, 1_800_000_000, u64::MAX][self.dice.below(3)],
            is_believed: self.dice.once_in(2),
        };
        if let Some(exchange) = &mut self.members[who].exchange {
            exchange.set_wall(wall, clock_ms);
        }
    }

    fn deliver(&mut self, from: usize, to: usize, link: u64, bytes: Vec<u8>) {
        let is_open = self.links.get(&(from.min(to), from.max(to))) == Some(&link);
        if !is_open || self.broken.contains(&(from, to, link)) {
            return;
        }
        if self.mute.contains(&(from, to)) {
            self.broken.insert((from, to, link));
            let when = self.now_ms + 15_000;
            self.at(when, Event::Break(from, to, link));
            return;
        }
        if self.members[from].is_honest() {
            self.spoil(to, &bytes);
        }
        let id = self.members[from].id;
        let Some(exchange) = &mut self.members[to].exchange else {
            return;
        };
        if !exchange.has_room(&id) {
            // It is not read, so it stays on the wire.
            let when = self.now_ms + 20;
            self.at(when, Event::Deliver(from, to, link, bytes));
            return;
        }
        match exchange.hear(&id, &bytes) {
            Ok(()) => self.settle(to),
            Err(fault) => {
                assert_ne!(fault, Fault::Flooding, "there was room");
                let is_rogue = !self.members[from].is_honest();
                assert!(is_rogue, "seed {}: {fault} from an honest node", self.seed);
                self.part(from, to);
                let when = self.now_ms + 30_000;
                self.at(when, Event::Meet(from, to));
            }
        }
    }

    /// Lets a member do what is to be done, and puts what it says on the wire.
    fn settle(&mut self, who: usize) {
        let clock_ms = self.clock_ms(who);
        let Some(exchange) = &mut self.members[who].exchange else {
            return;
        };
        let taken = exchange.turn(clock_ms);
        assert!(exchange.holding().waiting_count() <= 4_096);
        let next = exchange.next_turn_ms(clock_ms);
        let is_new = !taken.new.is_empty();
        let is_step = |record: &Arc<Record>| record.envelope().kind == Kind::REGION;
        if taken.new.iter().any(is_step) {
            let when = self.now_ms + self.dice.between(50, 500);
            self.at(when, Event::Fetch(who));
        }
        self.members[who].keep(taken);
        if is_new {
            let when = self.now_ms + self.dice.between(1, 100);
            self.at(when, Event::Commit(who));
        }
        self.speak(who);
        if let Some(next) = next {
            let wait = next.saturating_sub(clock_ms).max(10);
            self.wake(who, self.now_ms + wait);
        }
    }

    /// A turn at `when`, unless an earlier one is planned.
    fn wake(&mut self, who: usize, when: u64) {
        let planned = self.wakes.entry(who).or_insert(u64::MAX);
        if when < *planned {
            *planned = when;
            self.at(when, Event::Turn(who));
        }
    }

    fn speak(&mut self, who: usize) {
        let clock_ms = self.clock_ms(who);
        for to in 0..self.members.len() {
            let Some(link) = self.links.get(&(who.min(to), who.max(to))).copied() else {
                continue;
            };
            let id = self.members[to].id;
            loop {
                let exchange = self.members[who].exchange.as_mut().unwrap();
                let Some(bytes) = exchange.next_out(&id, clock_ms) else {
                    break;
                };
                let is_withheld = self.members[who].vice == Some(Vice::Withholds)
                    && matches!(Message::decode(&bytes), Ok(Message::Records(_)));
                if !is_withheld {
                    self.send(who, to, link, bytes);
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, link: u64, bytes: Vec<u8>) {
        // Now and then a packet is lost, and all that follows waits for its repetition.
        let delay = if self.dice.once_in(50) {
            self.dice.between(200, 3_000)
        } else {
            self.dice.between(1, 80)
        };
        let last = self.last_ms.get(&(from, to)).copied().unwrap_or(0);
        let when = (self.now_ms + delay).max(last);
        self.sent_bytes += bytes.len();
        self.last_ms.insert((from, to), when);
        self.at(when, Event::Deliver(from, to, link, bytes));
    }

    /// A rogue that spoils says what it hears before it is taken up by anybody.
    fn spoil(&mut self, who: usize, bytes: &[u8]) {
        if self.members[who].vice != Some(Vice::Spoils) {
            return;
        }
        let Ok(Message::Records(records)) = Message::decode(bytes) else {
            return;
        };
        let said = spoilt(&self.members[who], &records).encode();
        for to in 0..self.members.len() {
            let link = self.links.get(&(who.min(to), who.max(to))).copied();
            if let Some(link) = link {
                self.send(who, to, link, said.clone());
            }
        }
    }

    fn misdeed(&mut self, who: usize) {
        let said = say(&mut self.members[who], &mut self.dice);
        for to in 0..self.members.len() {
            let link = self.links.get(&(who.min(to), who.max(to))).copied();
            let bytes = said[to % 2].clone();
            if let Some(link) = link.filter(|_| !bytes.is_empty()) {
                self.send(who, to, link, bytes);
            }
        }
    }
}
