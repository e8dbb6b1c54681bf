/**
 * Watches a verification for ambient effects: clock, chance, network (DC-12). They are counted and let through, so that
 * a class that catches exceptions cannot hide one.
 */

/** Functions of the platform that no verifier may call, as paths from the global object. */
const WATCHED: readonly (readonly [holder: string | null, member: string])[] = [
  [null, 'fetch'],
  [null, 'WebSocket'],
  [null, 'XMLHttpRequest'],
  [null, 'setTimeout'],
  ['Date', 'now'],
  ['Math', 'random'],
  ['performance', 'now'],
  ['crypto', 'getRandomValues'],
  ['crypto', 'randomUUID'],
  ['process', 'hrtime'],
  ['process', 'cwd'],
];

type Callable = (...args: unknown[]) => unknown;

/** @returns what `work` returns, and the effects that were seen meanwhile, each once */
export async function watchEffects<T>(
  work: () => Promise<T>,
): Promise<{ readonly value: T; readonly effects: readonly string[] }> {
  const seen = new Set<string>();
  const restore = [...WATCHED.map(([holder, member]) => watchMember(holder, member, seen)), watchDate(seen)];
  try {
    return { value: await work(), effects: [...seen].sort() };
  } finally {
    for (const put of restore.toReversed()) put();
  }
}

function watchMember(holder: string | null, member: string, seen: Set<string>): () => void {
  const object: unknown = holder === null ? globalThis : Reflect.get(globalThis, holder);
  if (typeof object !== 'object' && typeof object !== 'function') return () => undefined;
  if (object === null) return () => undefined;
  const original: unknown = Reflect.get(object, member);
  if (typeof original !== 'function') return () => undefined;
  const watched = new Proxy(original as Callable, {
    apply: (target, self, args) => {
      seen.add(holder === null ? member : `${holder}.${member}`);
      return Reflect.apply(target, self, args);
    },
    construct: (target, args) => {
      seen.add(member);
      return Reflect.construct(target, args) as object;
    },
  });
  return replace(object, member, watched);
}

/** `new Date()` and `Date()` read the clock; with an argument they do not. */
function watchDate(seen: Set<string>): () => void {
  const watched = new Proxy(Date, {
    apply: (target, self, args) => {
      seen.add('Date');
      return Reflect.apply(target, self, args) as string;
    },
    construct: (target, args) => {
      if (args.length === 0) seen.add('Date');
      return Reflect.construct(target, args) as Date;
    },
  });
  return replace(globalThis, 'Date', watched);
}

/** Puts a value in the place of an own or inherited member. @returns what puts back what was there */
function replace(object: object, member: string, value: unknown): () => void {
  const descriptor = Object.getOwnPropertyDescriptor(object, member);
  Object.defineProperty(object, member, { value, configurable: true, writable: true });
  return () => {
    if (descriptor === undefined) Reflect.deleteProperty(object, member);
    else Object.defineProperty(object, member, descriptor);
  };
}
