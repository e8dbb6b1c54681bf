/** The rules of a policy as a check: compiled once for each view, one pass over the text, no expressions from outside. */

import { TermAutomaton } from './automaton.ts';
import { FoldedText, FoldingTable, foldWhole, type Folding, type View } from './fold.ts';
import type { PolicyDocument, Surface, Tier } from './policy.ts';
import type { Finding, Judgement, SafetyCheck } from './verdict.ts';

interface CompiledRule {
  readonly finding: Finding;
  readonly withinCharacters: number;
  /** Where the positions of this rule's groups stand among all groups of the set. */
  readonly firstGroup: number;
  readonly groupCount: number;
  /** Terms of the prompt count wherever they stand. */
  readonly acrossExchange: boolean;
}

/** No term of the group has been seen. Far enough below 0 that no distance reaches it. */
const NEVER = Number.NEGATIVE_INFINITY;

/** The rules of some surfaces in one view, ready to run. */
class CompiledRules {
  readonly rules: CompiledRule[] = [];
  readonly automaton: TermAutomaton;
  /** For each term, the rule and the group that it belongs to. */
  readonly owners: { readonly rule: CompiledRule; readonly group: number }[] = [];
  groupCount = 0;

  constructor(document: PolicyDocument, view: View, surfaces: readonly Surface[]) {
    const check = checkName(view);
    const tiers = new Map<string, Tier>(document.taxonomy.map(({ id, tier }) => [id, tier]));
    const patterns: string[] = [];
    for (const rule of document.rules) {
      for (const surface of surfaces.filter((name) => rule.surfaces.includes(name))) {
        const compiled: CompiledRule = {
          // Every category of a rule is in the taxonomy (GD-3); tier 0 where that were ever broken.
          finding: { check, rule: rule.id, category: rule.category, tier: tiers.get(rule.category) ?? 0 },
          withinCharacters: rule.withinCharacters,
          firstGroup: this.groupCount,
          groupCount: rule.groups.length,
          acrossExchange: surface === 'exchange',
        };
        this.rules.push(compiled);
        this.addTerms(compiled, rule.groups, view.terms, patterns);
      }
    }
    this.automaton = new TermAutomaton(patterns);
  }

  private addTerms(
    rule: CompiledRule,
    groups: readonly (readonly string[])[],
    folding: Folding,
    patterns: string[],
  ): void {
    for (const terms of groups) {
      for (const term of terms) {
        const pattern = termPattern(term, folding);
        if (pattern === undefined) continue;
        patterns.push(pattern);
        this.owners.push({ rule, group: this.groupCount });
      }
      this.groupCount += 1;
    }
  }
}

/**
 * A term between the spaces that stand round a word in a folded text; an end with `*` stays open. A term of which
 * nothing remains in a view is not searched there.
 */
function termPattern(term: string, folding: Folding): string | undefined {
  const words = foldWhole(folding, term).trim();
  if (words === '') return undefined;
  return `${term.startsWith('*') ? '' : ' '}${words}${term.endsWith('*') ? '' : ' '}`;
}

function checkName(view: View): string {
  return `rules-${view.name}`;
}

class RuleJudgement implements Judgement {
  position = 0;
  private readonly compiled: CompiledRules;
  private readonly text: FoldedText;
  /** For each group, the position after the last term that was seen of it. */
  private readonly lastSeen: number[];
  /** Groups that the prompt satisfies, for rules across the exchange. */
  private readonly seenInPrompt: readonly boolean[];
  private readonly reported = new Set<CompiledRule>();
  private state: number;

  constructor(compiled: CompiledRules, table: FoldingTable, seenInPrompt: readonly boolean[]) {
    this.compiled = compiled;
    this.text = new FoldedText(table);
    this.lastSeen = new Array<number>(compiled.groupCount).fill(NEVER);
    this.seenInPrompt = seenInPrompt;
    this.state = compiled.automaton.step(0, ' '.charCodeAt(0));
  }

  /** The groups of which any term was seen. */
  get seen(): readonly boolean[] {
    return this.lastSeen.map((position) => position !== NEVER);
  }

  push(text: string): readonly Finding[] {
    return this.search(this.text.push(text));
  }

  finish(): readonly Finding[] {
    return this.search(this.text.finish());
  }

  private search(folded: string): readonly Finding[] {
    const { automaton, owners } = this.compiled;
    const findings: Finding[] = [];
    for (let i = 0; i < folded.length; i += 1) {
      this.position += 1;
      this.state = automaton.step(this.state, folded.charCodeAt(i));
      for (const term of automaton.endingAt(this.state)) {
        const owner = owners[term];
        if (owner !== undefined) this.see(owner.rule, owner.group, findings);
      }
    }
    return findings;
  }

  private see(rule: CompiledRule, group: number, findings: Finding[]): void {
    this.lastSeen[group] = this.position;
    if (this.reported.has(rule) || !this.holds(rule)) return;
    this.reported.add(rule);
    findings.push(rule.finding);
  }

  private holds(rule: CompiledRule): boolean {
    for (let group = rule.firstGroup; group < rule.firstGroup + rule.groupCount; group += 1) {
      if (rule.acrossExchange && this.seenInPrompt[group] === true) continue;
      if (this.position - (this.lastSeen[group] ?? NEVER) > rule.withinCharacters) return false;
    }
    return true;
  }
}

/** The rules of a policy in one view of the text. */
export function createRuleCheck(document: PolicyDocument, view: View): SafetyCheck {
  const table = new FoldingTable(view.text);
  const input = new CompiledRules(document, view, ['input']);
  const output = new CompiledRules(document, view, ['output', 'exchange']);
  return {
    name: checkName(view),
    openInput: () => new RuleJudgement(input, table, []),
    openOutput: (prompt) => {
      const overPrompt = new RuleJudgement(output, table, []);
      overPrompt.push(prompt);
      overPrompt.finish();
      return new RuleJudgement(output, table, overPrompt.seen);
    },
  };
}
