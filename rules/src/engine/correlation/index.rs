//! Which policies look at which rule, fact and schedule.

use event::TimeSpan;

use crate::calendar::ScheduleId;
use crate::plan::{FactId, Pattern, Plan, Rule, RuleId, Scope};

/// One scope's view of the policies.
#[derive(Debug, Default)]
pub struct PolicyIndex {
    /// Inhibitions of each rule.
    inhibitors: Vec<Vec<u16>>,
    /// How long a rule's detections wait for what may inhibit them.
    holds: Vec<TimeSpan>,
    /// Rules that may find a rule's detections to chatter.
    hushers: Vec<Vec<RuleId>>,
    /// Escalations that count a rule's detections.
    escalations: Vec<Vec<u16>>,
    /// Facts that an inhibition reads.
    facts: Vec<bool>,
    /// Schedules that an inhibition reads.
    schedules: Vec<bool>,
    /// Rules whose incidents are looked for by more than what detections share.
    seeks: Vec<bool>,
}

fn numbers(count: usize) -> impl Iterator<Item = u16> {
    0..count as u16
}

impl PolicyIndex {
    /// No policy looks at anything.
    pub fn none(plan: &Plan) -> Self {
        Self {
            inhibitors: vec![Vec::new(); plan.rules.len()],
            holds: vec![TimeSpan::ZERO; plan.rules.len()],
            hushers: vec![Vec::new(); plan.rules.len()],
            escalations: vec![Vec::new(); plan.rules.len()],
            facts: vec![false; plan.facts.len()],
            schedules: vec![false; plan.calendar.schedules.len()],
            seeks: vec![true; plan.rules.len()],
        }
    }

    /// The view of one scope.
    pub fn new(plan: &Plan, scope: Scope) -> Self {
        let mut index = Self::none(plan);
        let inhibitions = plan.policies.inhibit.iter().zip(numbers(plan.policies.inhibit.len()));
        for (policy, number) in inhibitions.filter(|(policy, _)| policy.scope == scope) {
            for rule in &policy.targets {
                let rule = rule.0 as usize;
                index.inhibitors[rule].push(number);
                index.holds[rule] = index.holds[rule].max(policy.hold);
            }
            policy.reads.iter().for_each(|fact| index.facts[fact.0 as usize] = true);
            policy.schedules.iter().for_each(|s| index.schedules[s.0 as usize] = true);
        }
        for (number, husher) in plan.rules.iter().enumerate() {
            let Pattern::Event(on) = &husher.pattern else { continue };
            if husher.quiet.is_none() || husher.scope != scope {
                continue;
            }
            let heard = |rule: &Rule, of: RuleId| {
                on.kinds.contains(&plan.detection_kind(of)) && !rule.life_safety
            };
            for (of, rule) in plan.rules.iter().enumerate() {
                if rule.scope == scope && heard(rule, RuleId(of as u16)) {
                    index.hushers[of].push(RuleId(number as u16));
                }
            }
        }
        for (of, rule) in plan.rules.iter().enumerate() {
            let id = RuleId(of as u16);
            let counted = plan.policies.escalate.iter().any(|policy| policy.of.contains(&id));
            let linked = plan.links.iter().map(|link| &link.between);
            let linked = linked.flat_map(|(a, b)| [a, b]).any(|side| side.contains(&id));
            let clears = matches!(rule.pattern, Pattern::Watch { clears: true, .. });
            index.seeks[of] = counted || linked || clears || plan.policies.stale.is_some();
        }
        let escalations = plan.policies.escalate.iter().zip(numbers(plan.policies.escalate.len()));
        for (policy, number) in escalations {
            policy.of.iter().for_each(|rule| index.escalations[rule.0 as usize].push(number));
        }
        index
    }

    /// Inhibitions that may hold a rule back.
    pub fn inhibitors(&self, rule: RuleId) -> &[u16] {
        &self.inhibitors[rule.0 as usize]
    }

    /// How long a rule's detections wait.
    pub fn hold(&self, rule: RuleId) -> TimeSpan {
        self.holds[rule.0 as usize]
    }

    /// Rules that may find a rule's detections to chatter.
    pub fn hushers(&self, rule: RuleId) -> &[RuleId] {
        &self.hushers[rule.0 as usize]
    }

    /// Escalations that count a rule's detections.
    pub fn escalations(&self, rule: RuleId) -> &[u16] {
        &self.escalations[rule.0 as usize]
    }

    /// Whether no policy has to do with a rule's detections.
    pub fn ignores(&self, rule: RuleId) -> bool {
        let of = rule.0 as usize;
        let counted = !self.inhibitors[of].is_empty() || !self.hushers[of].is_empty();
        !counted && self.escalations[of].is_empty() && !self.seeks[of] && self.holds[of].0 == 0
    }

    /// Whether a rule's incident is looked for by its id, or by a link: by an escalation, by the end
    /// of its condition, or because it may be stale.
    pub fn seeks(&self, rule: RuleId) -> bool {
        self.seeks[rule.0 as usize]
    }

    /// Whether a fact's change may begin or end an inhibition.
    #[inline]
    pub fn reads(&self, fact: FactId) -> bool {
        self.facts[fact.0 as usize]
    }

    /// Whether a schedule's edge may begin or end an inhibition.
    pub fn reads_schedule(&self, schedule: ScheduleId) -> bool {
        self.schedules[schedule.0 as usize]
    }

    /// Whether any inhibition reads a schedule.
    pub fn reads_schedules(&self) -> bool {
        self.schedules.contains(&true)
    }
}
