//! What can be known of a flow without a call: which steps are ever reached,
//! where it turns in circles, and what is done too late.
//!
//! One mistake is not told again as its consequences: where a document has
//! errors, ways that they hide are neither missed nor made up.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Action, Flow, State, StateId};
use super::problem::Location;
use super::read::{Reader, shown};

/// A way out of a state.
struct Edge {
    at: Location,
    to: StateId,
    /// Whether a step that waits for something stands before it in the state.
    waits: bool,
    /// Whether a step that answers the call stands before it in the state.
    answered: bool,
}

/// What the steps of one state amount to.
struct Walk {
    edges: Vec<Edge>,
    /// The first step that is never reached, if any, and the one that sees to that.
    dead: Option<(Location, &'static str)>,
}

impl Reader<'_> {
    /// `whole` is whether nothing of the document was left out of `flow`.
    pub(crate) fn graph(&mut self, flow: &Flow, whole: bool) {
        let walks: Vec<Walk> = flow.states.iter().map(walk).collect();
        let reached = reachable(flow.start, &walks);
        for (index, (state, walk)) in flow.states.iter().zip(&walks).enumerate() {
            // The way to a state may be what could not be read.
            if whole && !reached.contains(&StateId(index)) {
                self.warning(
                    state.at,
                    format!(
                        "nothing leads to the state `{}`; go to it from somewhere, or take it out",
                        shown(&state.name)
                    ),
                );
            }
            if let Some((at, after)) = walk.dead {
                self.warning(
                    at,
                    format!("this step is never reached: the `{after}` before it never goes on to the next step"),
                );
            }
        }
        self.circles(flow, &walks);
        self.too_late(flow, &walks, &reached);
    }

    /// Reports each edge that closes a circle in which nothing waits.
    fn circles(&mut self, flow: &Flow, walks: &[Walk]) {
        let mut finished = BTreeSet::new();
        for start in 0..walks.len() {
            // Depth first with a stack of its own: a document may chain thousands of states.
            let mut path: Vec<(StateId, usize)> = vec![(StateId(start), 0)];
            let mut on_path = BTreeMap::from([(StateId(start), 0)]);
            while let Some((state, next)) = path.last_mut() {
                let state = *state;
                if finished.contains(&state) {
                    path.pop();
                    on_path.remove(&state);
                    continue;
                }
                let Some(edge) = walks[state.0].edges.get(*next) else {
                    finished.insert(state);
                    continue;
                };
                *next += 1;
                if edge.waits {
                    continue;
                }
                if let Some(begin) = on_path.get(&edge.to) {
                    let circle: Vec<&str> = path[*begin..]
                        .iter()
                        .map(|(id, _)| flow[*id].name.as_str())
                        .collect();
                    let shown = if circle.len() > 6 {
                        &circle[..6]
                    } else {
                        &circle[..]
                    };
                    let more = if circle.len() > 6 { " -> ..." } else { "" };
                    let text = format!(
                        "this goes round for ever without waiting for the caller: {}{more} -> {}; put a gather, a record or a pause into the circle",
                        shown.join(" -> "),
                        flow[edge.to].name,
                    );
                    let at = edge.at;
                    self.error(at, text);
                } else if !finished.contains(&edge.to) {
                    on_path.insert(edge.to, path.len());
                    path.push((edge.to, 0));
                }
            }
        }
    }

    /// Reports `ring`, `answer` and `reject` where the call may be answered already.
    fn too_late(&mut self, flow: &Flow, walks: &[Walk], reached: &BTreeSet<StateId>) {
        let mut answered = BTreeSet::new();
        let mut open = Vec::new();
        // An edge is answered by its own state, or because its state was entered answered.
        for state in reached {
            for edge in walks[state.0].edges.iter().filter(|edge| edge.answered) {
                if answered.insert(edge.to) {
                    open.push(edge.to);
                }
            }
        }
        while let Some(state) = open.pop() {
            for edge in &walks[state.0].edges {
                if answered.insert(edge.to) {
                    open.push(edge.to);
                }
            }
        }
        for (index, state) in flow.states.iter().enumerate() {
            let mut by = answered
                .contains(&StateId(index))
                .then(|| "before this state".to_owned());
            for step in &state.steps {
                let instead = match &step.action {
                    Action::Reject(_) => Some("end it with `hangup`"),
                    Action::Ring(_) | Action::Answer => Some("take the step out, or put it before"),
                    _ => None,
                };
                if let (Some(by), Some(instead)) = (&by, instead) {
                    let text = format!(
                        "`{}` comes too late: the call may be answered already ({by}); {instead}",
                        step.action.name()
                    );
                    self.error(step.at, text);
                }
                if by.is_none() && step.action.answers() {
                    by = Some(format!(
                        "by `{}` in line {}",
                        step.action.name(),
                        step.at.line
                    ));
                }
            }
        }
    }
}

fn reachable(start: StateId, walks: &[Walk]) -> BTreeSet<StateId> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        open.extend(
            walks[state.0]
                .edges
                .iter()
                .map(|edge| edge.to)
                .filter(|to| reached.insert(*to)),
        );
    }
    reached
}

fn walk(state: &State) -> Walk {
    let mut edges = Vec::new();
    let (mut waits, mut answered) = (false, false);
    for (index, step) in state.steps.iter().enumerate() {
        answered |= step.action.answers();
        waits |= matches!(
            step.action,
            Action::Gather(_)
                | Action::Record(_)
                | Action::Pause(_)
                | Action::Ring(_)
                | Action::Transfer(_)
        );
        let mut edge = |to: StateId| {
            edges.push(Edge {
                at: step.at,
                to,
                waits,
                answered,
            })
        };
        let goes_on = match &step.action {
            Action::Goto(to) => {
                edge(*to);
                false
            }
            Action::Gather(gather) => {
                gather.on.iter().for_each(|(_, to)| edge(*to));
                gather
                    .on_timeout
                    .into_iter()
                    .chain(gather.on_invalid)
                    .for_each(&mut edge);
                gather.on.is_empty() || gather.on_timeout.is_none() || gather.on_invalid.is_none()
            }
            Action::Branch(branch) => {
                branch
                    .on
                    .iter()
                    .map(|(_, to)| *to)
                    .chain(branch.otherwise)
                    .for_each(&mut edge);
                branch.otherwise.is_none()
            }
            Action::Transfer(transfer) => {
                transfer.on_failure.into_iter().for_each(&mut edge);
                transfer.on_failure.is_none()
            }
            Action::Play(play) => play.repeat.is_some(),
            Action::Reject(_) | Action::Hangup => false,
            Action::Ring(_)
            | Action::Answer
            | Action::Record(_)
            | Action::Dtmf(_)
            | Action::Pause(_) => true,
        };
        if !goes_on {
            let dead = state
                .steps
                .get(index + 1)
                .map(|next| (next.at, step.action.name()));
            return Walk { edges, dead };
        }
    }
    Walk { edges, dead: None }
}
