/**
 * Contexts of one to four tokens and what follows them, with back-off: the longest known context decides. A longer
 * context takes back all that the shorter ones have added, because the transformer can only add.
 */

/** The longest context: the current token and the three before it, one for each previous-token head. */
export const LONGEST_CONTEXT = 4;

/** Tokens in the order of the text. Every token but the first is predicted from those before it. */
export interface Sequence {
  readonly passage: number;
  readonly tokens: readonly number[];
}

/** Something that the model knows: after `tokens`, it adds to the logits of some successors. */
export interface Rule {
  /** One to four tokens in the order of the text; the last one is the current token. */
  readonly tokens: readonly number[];
  /** A rule with a passage is as strong as the conversation's topic is that passage; one without always holds. */
  readonly passage: number | undefined;
  /** Successor to the logit that is added. */
  readonly logits: ReadonlyMap<number, number>;
}

export interface RuleOptions {
  /** What a context adds to the logit of its only successor; several share it by the logarithm of their counts. */
  readonly contextLogit: number;
  /** What a topic that is wholly one passage adds to the logits of that passage's successors. */
  readonly topicLogit: number;
  /** A context keeps at most so many successors, the most frequent ones: many together drown each other in noise. */
  readonly maximumSuccessors: number;
}

interface Context {
  readonly tokens: readonly number[];
  /** Successor to count. */
  readonly successors: Map<number, number>;
}

type Contexts = ReadonlyMap<string, Context>;

/** All rules of a text: first those of the counts, then those of the topics. */
export function deriveRules(sequences: readonly Sequence[], options: RuleOptions): readonly Rule[] {
  const contexts = countContexts(sequences);
  const wanted = new Map<string, ReadonlyMap<number, number>>();
  const rules: Rule[] = [];
  // Shorter contexts come first: a longer one needs to know what they add.
  for (const context of [...contexts.values()].sort((a, b) => a.tokens.length - b.tokens.length)) {
    if (!isInformative(context, contexts) || isLeftToTopics(context, sequences, options)) continue;
    const logits = logitsOf(context, options);
    rules.push({
      tokens: context.tokens,
      passage: undefined,
      logits: difference(logits, shorter(context, wanted)),
    });
    wanted.set(keyOf(context.tokens), logits);
  }
  return [...rules, ...topicRules(sequences, contexts, options.topicLogit)];
}

function keyOf(tokens: readonly number[]): string {
  return tokens.join(' ');
}

/** The contexts that end at a position, from the shortest; none reaches back over the start of its sequence. */
function contextsAt(tokens: readonly number[], position: number): readonly (readonly number[])[] {
  const longest = Math.min(LONGEST_CONTEXT, position + 1);
  return Array.from({ length: longest }, (_, i) => tokens.slice(position - i, position + 1));
}

function countContexts(sequences: readonly Sequence[]): Contexts {
  const contexts = new Map<string, Context>();
  for (const { tokens } of sequences) {
    for (const [position, successor] of tokens.slice(1).entries()) {
      for (const context of contextsAt(tokens, position)) {
        const key = keyOf(context);
        const entry = contexts.get(key) ?? { tokens: context, successors: new Map<number, number>() };
        entry.successors.set(successor, (entry.successors.get(successor) ?? 0) + 1);
        contexts.set(key, entry);
      }
    }
  }
  return contexts;
}

/** Whether a context predicts anything that the same context without its first token does not predict as well. */
function isInformative(context: Context, contexts: Contexts): boolean {
  const shorter = contexts.get(keyOf(context.tokens.slice(1)));
  if (shorter === undefined) return true;
  if (shorter.successors.size !== context.successors.size) return true;
  const [all, allOfShorter] = [total(context), total(shorter)];
  return [...context.successors].some(
    ([token, count]) => count * allOfShorter !== (shorter.successors.get(token) ?? 0) * all,
  );
}

/** A text can begin in so many ways that their counts say little: there only the topic decides. */
function isLeftToTopics(context: Context, sequences: readonly Sequence[], options: RuleOptions): boolean {
  const [only, ...others] = context.tokens;
  if (others.length > 0 || context.successors.size <= options.maximumSuccessors) return false;
  return sequences.some(({ tokens }) => tokens[0] === only);
}

function total(context: Context): number {
  return [...context.successors.values()].reduce((sum, count) => sum + count, 0);
}

function logitsOf(context: Context, options: RuleOptions): ReadonlyMap<number, number> {
  const kept = [...context.successors].sort(([a, m], [b, n]) => n - m || a - b);
  kept.splice(options.maximumSuccessors);
  const all = total(context);
  return new Map(kept.map(([token, count]) => [token, options.contextLogit + Math.log(count / all)]));
}

/** What the longest shorter context wants, which is what all shorter ones add up to. */
function shorter(
  context: Context,
  wanted: ReadonlyMap<string, ReadonlyMap<number, number>>,
): ReadonlyMap<number, number> {
  for (let skip = 1; skip < context.tokens.length; skip += 1) {
    const logits = wanted.get(keyOf(context.tokens.slice(skip)));
    if (logits !== undefined) return logits;
  }
  return new Map();
}

function difference(
  left: ReadonlyMap<number, number>,
  right: ReadonlyMap<number, number>,
): ReadonlyMap<number, number> {
  const result = new Map(left);
  for (const [token, logit] of right) result.set(token, (left.get(token) ?? 0) - logit);
  return result;
}

/**
 * Where the longest context leaves a choice, the topic tells the passages apart that chose differently. Only longest
 * contexts have such rules, so there is never a longer one that would have to take them back.
 */
function topicRules(sequences: readonly Sequence[], contexts: Contexts, topicLogit: number): Iterable<Rule> {
  const rules = new Map<string, Rule & { readonly logits: Map<number, number> }>();
  for (const { passage, tokens } of sequences) {
    for (const [position, successor] of tokens.slice(1).entries()) {
      const longest = tokens.slice(Math.max(0, position + 1 - LONGEST_CONTEXT), position + 1);
      if (contexts.get(keyOf(longest))?.successors.size === 1) continue;
      const key = `${keyOf(longest)}/${passage}`;
      const rule = rules.get(key) ?? { tokens: longest, passage, logits: new Map<number, number>() };
      rule.logits.set(successor, topicLogit);
      rules.set(key, rule);
    }
  }
  return rules.values();
}
