//! The rows of the report: ways of writing, each with a name, over how many prompts.
//!
//! Texts are made so that the base's own row is in the mix: a tuned base is the base plus what its adapters change, an instruction the
//! base plus what the instruction changes. That is the same distribution, and every step tells what the base thinks of its token.

use std::path::{Path, PathBuf};

use pilotfish::engine::{AdapterUse, Guide, GuideKind, Method, MethodName};
use serde::Serialize;

use super::spec::{FrontierSpec, GuideSpec, MethodsSpec, Spec, WeakSpec};

/// A part of the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Each guide at each weight.
    Sweep,
    /// The methods.
    Methods,
    /// Two guides.
    Frontier,
    /// The smaller model's guide.
    Weak,
}

/// A row of the report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// `upbeat/sum/1`.
    pub(super) name: String,
    /// Where it belongs.
    pub(super) part: Part,
    /// The first so many prompts.
    pub(super) prompts: usize,
    /// How its texts are made.
    pub(super) way: Way,
    /// The cheapest way to the same distribution, where its speed is measured.
    pub(super) native: Option<Way>,
    /// The row it is compared with besides the base: the base at the temperature to which the sum rule sharpens.
    pub(super) control: Option<String>,
}

/// How texts are made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Way {
    /// Of the base itself.
    pub(super) adapters: Vec<AdapterUse>,
    /// What steers it.
    pub(super) guides: Vec<Guide>,
    /// Divide by the sum of weights.
    pub(super) normalize: bool,
    /// Of the draw.
    pub(super) temperature: f32,
    /// What chooses.
    pub(super) method: Method,
    /// Put before the prompt.
    pub(super) instruction: Option<String>,
}

impl Way {
    /// The base alone.
    pub(super) fn base() -> Self {
        Self {
            adapters: Vec::new(),
            guides: Vec::new(),
            normalize: false,
            temperature: 1.0,
            method: Method::default(),
            instruction: None,
        }
    }

    fn guided(guides: Vec<Guide>) -> Self {
        Self { guides, ..Self::base() }
    }

    /// Whether each token is drawn from the mix, so that its divergence from the base is known.
    pub(super) fn draws(&self) -> bool {
        self.method.name == MethodName::Genarm
    }

    /// What a session cannot change while it lives: all but weights and temperature. Shares are in it: caches keep what they were made with.
    pub(super) fn session(&self) -> Self {
        let guides = self.guides.iter().map(|guide| Guide { weight: 0.0, ..guide.clone() }).collect();
        Self { guides, temperature: 0.0, ..self.clone() }
    }
}

/// Files that ways name by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Adapters, and the guide model that they are for (`None`: the base).
    pub(super) adapters: Vec<(PathBuf, Option<usize>)>,
    /// Guide models.
    pub(super) models: Vec<PathBuf>,
}

impl Files {
    fn adapter(&mut self, path: &Path, on: Option<usize>) -> usize {
        let wanted = (path.to_owned(), on);
        self.adapters.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.adapters.push(wanted);
            self.adapters.len() - 1
        })
    }
}

/// All rows of the parts that are asked for (all, if none is), the base and its sharpened controls first, and the files they need.
pub(super) fn settings(spec: &Spec, prompts: usize, only: &[Part]) -> (Vec<Setting>, Files) {
    let wanted = |part: Part| only.is_empty() || only.contains(&part);
    let mut plan = Plan { spec, prompts, files: Files::default(), settings: Vec::new() };
    plan.add(Part::Sweep, "base".into(), None, Way::base());
    for alpha in &spec.alphas {
        let way = Way { temperature: 1.0 / (1.0 + alpha), ..Way::base() };
        if wanted(Part::Sweep) {
            plan.add(Part::Sweep, format!("sharp/{alpha}"), None, way);
        }
    }
    for guide in spec.guides.iter().filter(|_| wanted(Part::Sweep)) {
        plan.sweep(guide);
    }
    if let Some(methods) = spec.methods.as_ref().filter(|_| wanted(Part::Methods)) {
        plan.methods(methods);
    }
    if let Some(frontier) = spec.frontier.as_ref().filter(|_| wanted(Part::Frontier)) {
        plan.frontier(frontier);
    }
    if let Some(weak) = spec.weak.as_ref().filter(|_| wanted(Part::Weak)) {
        plan.weak(weak);
    }
    (plan.settings, plan.files)
}

struct Plan<'a> {
    spec: &'a Spec,
    prompts: usize,
    files: Files,
    settings: Vec<Setting>,
}

impl Plan<'_> {
    fn add(&mut self, part: Part, name: String, prompts: Option<usize>, way: Way) {
        let prompts = prompts.unwrap_or(usize::MAX).min(self.prompts);
        // The sum rule, wherever it is used: weights of 1 + α act like a temperature of 1 / (1 + α).
        let drawn = way.draws() && way.temperature == 1.0 && !way.normalize;
        let weights = way.guides.iter().filter(|guide| !differs(&guide.kind)).map(|guide| guide.weight);
        let sharpened = weights.sum::<f32>();
        let control = (drawn && sharpened > 0.0).then(|| format!("sharp/{sharpened}"));
        self.settings.push(Setting { name, part, prompts, way, native: None, control });
    }

    /// An adapter guide over the base.
    fn arm(&mut self, name: &str, path: &Path, weight: f32, relative: bool) -> Guide {
        let adapters = vec![AdapterUse::whole(self.files.adapter(path, None))];
        Guide { name: name.into(), weight, kind: GuideKind::Adapter { adapters, relative, model: None, prompt: None } }
    }

    /// Both rules at every weight.
    fn sweep(&mut self, guide: &GuideSpec) {
        for (rule, normalize) in [("sum", false), ("normalized", true)] {
            for alpha in &self.spec.alphas {
                let arm = self.arm(&guide.name, &guide.adapter, *alpha, false);
                let way = Way { normalize, ..Way::guided(vec![arm]) };
                self.add(Part::Sweep, format!("{}/{rule}/{alpha}", guide.name), None, way);
            }
        }
    }

    fn methods(&mut self, asked: &MethodsSpec) {
        let Some(guide) = self.spec.guide(&asked.guide).cloned() else { return };
        let timed = |plan: &mut Self, name: &str, prompts: Option<usize>, way: Way, native: Option<Way>| {
            plan.add(Part::Methods, format!("methods/{name}"), prompts, way.clone());
            if let Some(last) = plan.settings.last_mut() {
                last.native = Some(native.unwrap_or(way));
            }
        };
        timed(self, "base", asked.prompts, Way::base(), None);
        if let Some(instruction) = &guide.instruction {
            let kind = GuideKind::Context { context: instruction.clone(), against: None };
            let way = Way::guided(vec![Guide { name: "instruction".into(), weight: 1.0, kind }]);
            let native = Way { instruction: Some(instruction.clone()), ..Way::base() };
            timed(self, "prompt-only", asked.prompts, way, Some(native));
        }
        if let Some(dpo) = &guide.dpo {
            let tuned = self.arm("dpo", dpo, 1.0, true);
            let native = Way { adapters: used(&tuned), ..Way::base() };
            timed(self, "dpo", asked.prompts, Way::guided(vec![tuned]), Some(native));
        }
        let merged = self.arm(&guide.name, &guide.adapter, 1.0, true);
        let native = Way { adapters: used(&merged), ..Way::base() };
        timed(self, "adapter-alone", asked.prompts, Way::guided(vec![merged]), Some(native));
        let arm = self.arm(&guide.name, &guide.adapter, asked.alpha, false);
        let genarm = Way::guided(vec![arm]);
        timed(self, "genarm-sum", asked.prompts, genarm.clone(), None);
        timed(self, "genarm-normalized", asked.prompts, Way { normalize: true, ..genarm }, None);
        if let Some(other) = asked.soup_with.as_ref().and_then(|name| self.spec.guide(name)).cloned() {
            let soup = self.soup(&guide, &other, asked.soup_share, true, 1.0);
            let native = Way { adapters: used(&soup), ..Way::base() };
            timed(self, "rewarded-soup", asked.prompts, Way::guided(vec![soup]), Some(native));
        }
        if let Some(parm) = &asked.parm {
            let mut arm = self.arm("parm", &parm.adapter, asked.alpha, false);
            if let GuideKind::Adapter { adapters, .. } = &mut arm.kind {
                adapters[0].preference.clone_from(&parm.preference);
            }
            timed(self, "parm", asked.prompts, Way::guided(vec![arm]), None);
        }
        let reward = self.arm("reward", &guide.adapter, 0.0, true);
        let search = |name, candidates| {
            let method = Method {
                name,
                reward: Some("reward".into()),
                candidates,
                weight: asked.reward_weight,
                rollout: asked.rollout,
                goal: asked.cards_goal.unwrap_or_default(),
                ..Method::default()
            };
            Way { method, ..Way::guided(vec![reward.clone()]) }
        };
        timed(self, "args", asked.search_prompts, search(MethodName::Args, asked.candidates), None);
        timed(self, "transfer-q", asked.search_prompts, search(MethodName::TransferQ, asked.candidates), None);
        let best = search(MethodName::BestOfN, asked.best_of);
        timed(self, &format!("best-of-{}", asked.best_of), asked.search_prompts, best, None);
        if asked.cards_goal.is_some() {
            timed(self, "cards", asked.search_prompts, search(MethodName::Cards, 0), None);
        }
    }

    /// Two guides' adapters in one row.
    fn soup(&mut self, one: &GuideSpec, other: &GuideSpec, share: f32, relative: bool, weight: f32) -> Guide {
        let mut guide = self.arm("soup", &one.adapter, weight, relative);
        let second = self.files.adapter(&other.adapter, None);
        if let GuideKind::Adapter { adapters, .. } = &mut guide.kind {
            adapters[0].share = share;
            adapters.push(AdapterUse { share: 1.0 - share, ..AdapterUse::whole(second) });
        }
        guide
    }

    fn frontier(&mut self, asked: &FrontierSpec) {
        let [Some(one), Some(other)] = asked.guides.each_ref().map(|name| self.spec.guide(name).cloned()) else {
            return;
        };
        for family in Family::ALL {
            for step in 0..=asked.steps {
                let share = step as f32 / asked.steps as f32;
                let guides = match family {
                    Family::Genarm => vec![
                        self.arm(&one.name, &one.adapter, asked.alpha * share, false),
                        self.arm(&other.name, &other.adapter, asked.alpha * (1.0 - share), false),
                    ],
                    Family::GuideSoup => vec![self.soup(&one, &other, share, false, asked.alpha)],
                    Family::RewardedSoup => vec![self.soup(&one, &other, share, true, 1.0)],
                    Family::Parm => {
                        let Some(parm) = &asked.parm else { continue };
                        let mut arm = self.arm("parm", parm, asked.alpha, false);
                        if let GuideKind::Adapter { adapters, .. } = &mut arm.kind {
                            adapters[0].preference = vec![share, 1.0 - share];
                        }
                        vec![arm]
                    }
                };
                let normalize = family != Family::RewardedSoup;
                let way = Way { normalize, ..Way::guided(guides) };
                self.add(Part::Frontier, family.row(step, asked.steps), asked.prompts, way);
            }
        }
    }

    fn weak(&mut self, asked: &WeakSpec) {
        self.files.models.push(asked.model.clone());
        let model = self.files.models.len() - 1;
        // A relative guide's weights sum to nothing: normalised, it is the same.
        let rules = [("sum", false), ("normalized", true)].into_iter().take(if asked.relative { 1 } else { 2 });
        for (rule, normalize) in rules {
            for alpha in &self.spec.alphas {
                let kind = match &asked.adapter {
                    Some(adapter) => {
                        let adapters = vec![AdapterUse::whole(self.files.adapter(adapter, Some(model)))];
                        GuideKind::Adapter { adapters, relative: asked.relative, model: Some(model), prompt: None }
                    }
                    None => GuideKind::Model { model, prompt: None },
                };
                let guide = Guide { name: "weak".into(), weight: *alpha, kind };
                let way = Way { normalize, ..Way::guided(vec![guide]) };
                self.add(Part::Weak, format!("weak/{rule}/{alpha}"), asked.prompts, way);
            }
        }
    }
}

/// Ways to weigh two objectives against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// A row for each guide, normalised.
    Genarm,
    /// One guide, whose adapters are weighted.
    GuideSoup,
    /// The base itself under weighted adapters (Rewarded Soups, arXiv 2306.04488).
    RewardedSoup,
    /// One adapter with preferences.
    Parm,
}

impl Family {
    /// In the report's order.
    pub(super) const ALL: [Self; 4] = [Self::Genarm, Self::GuideSoup, Self::RewardedSoup, Self::Parm];

    /// In the names of rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Genarm => "genarm",
            Self::GuideSoup => "guide-soup",
            Self::RewardedSoup => "rewarded-soup",
            Self::Parm => "parm",
        }
    }

    /// The row at a step of the grid: the first guide's share of it.
    pub(super) fn row(self, step: u32, steps: u32) -> String {
        format!("frontier/{}/{:.3}", self.name(), f64::from(step) / f64::from(steps))
    }
}

/// Whether a guide takes off as much as it adds, so that it does not sharpen.
fn differs(kind: &GuideKind) -> bool {
    match kind {
        GuideKind::Context { .. } => true,
        GuideKind::Adapter { relative, .. } => *relative,
        GuideKind::Model { .. } => false,
    }
}

fn used(guide: &Guide) -> Vec<AdapterUse> {
    match &guide.kind {
        GuideKind::Adapter { adapters, .. } => adapters.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        toml::from_str(
            r#"
            base = "b"
            prompts = "p"
            alphas = [0.5, 1]
            guides = [
                { name = "up", adapter = "u", rule = "sentiment", instruction = "Be glad.", dpo = "d" },
                { name = "plain", adapter = "q", rule = "readability" },
            ]
            methods = { guide = "up", search_prompts = 3, soup_with = "plain", cards_goal = 1.0 }
            frontier = { guides = ["up", "plain"], steps = 2, parm = "r" }
            weak = { model = "w", adapter = "a", guide = "up" }
            "#,
        )
        .expect("it is a specification")
    }

    fn names(only: &[Part]) -> Vec<String> {
        settings(&spec(), 8, only).0.into_iter().map(|setting| setting.name).collect()
    }

    #[test]
    fn every_table_has_its_controls() {
        let sweep = names(&[Part::Sweep]);
        assert_eq!(sweep[..3], ["base", "sharp/0.5", "sharp/1"]);
        assert_eq!(sweep[3..7], ["up/sum/0.5", "up/sum/1", "up/normalized/0.5", "up/normalized/1"]);
        assert_eq!(sweep.len(), 11);
        assert_eq!(names(&[Part::Methods])[0], "base");
        let methods = names(&[Part::Methods]);
        for name in ["prompt-only", "dpo", "genarm-sum", "rewarded-soup", "args", "transfer-q", "best-of-16", "cards"] {
            assert!(methods.contains(&format!("methods/{name}")), "{name}");
        }
        assert_eq!(names(&[Part::Frontier]).len(), 1 + 4 * 3);
        assert_eq!(names(&[Part::Weak]).len(), 1 + 4);
    }

    #[test]
    fn a_control_is_as_sharp_as_the_sum_of_the_weights() {
        let (settings, files) = settings(&spec(), 8, &[]);
        let of = |name: &str| settings.iter().find(|setting| setting.name == name).expect("it is there");
        assert_eq!(of("sharp/1").way.temperature, 0.5);
        let controls =
            ["up/sum/1", "up/normalized/1", "methods/dpo", "methods/genarm-sum", "methods/args", "weak/sum/0.5"];
        let controls = controls.map(|name| of(name).control.as_deref());
        assert_eq!(controls, [Some("sharp/1"), None, None, Some("sharp/1"), None, Some("sharp/0.5")]);
        assert_eq!(of("methods/args").prompts, 3);
        assert_eq!(of("methods/dpo").prompts, 8);
        // The tuned base is timed as one row, and written as the base and what the tuning changes.
        let dpo = of("methods/dpo");
        assert_eq!((dpo.way.guides.len(), dpo.way.adapters.len()), (1, 0));
        assert_eq!(dpo.native.as_ref().map(|way| (way.guides.len(), way.adapters.len())), Some((0, 1)));
        assert_eq!(files.models, [PathBuf::from("w")]);
        assert_eq!(files.adapters.len(), 5);
        let at = |path: &str| files.adapters.iter().position(|(known, _)| *known == Path::new(path));
        assert!(at("u").is_some() && at("a").is_some_and(|at| files.adapters[at].1 == Some(0)));
    }

    #[test]
    fn weights_share_a_session_and_shares_do_not() {
        let (settings, _) = settings(&spec(), 8, &[]);
        let session =
            |name: &str| settings.iter().find(|setting| setting.name == name).map(|setting| setting.way.session());
        assert_eq!(session("up/sum/0.5"), session("up/sum/1"));
        assert_ne!(session("up/sum/1"), session("up/normalized/1"));
        assert_eq!(session("frontier/genarm/0.000"), session("frontier/genarm/1.000"));
        assert_ne!(session("frontier/guide-soup/0.000"), session("frontier/guide-soup/0.500"));
        assert_eq!(session("base"), session("sharp/1"));
    }
}
