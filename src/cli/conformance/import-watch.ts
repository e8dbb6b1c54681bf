/**
 * What the modules of a folder import, seen while they are loaded. The modules are loaded afresh, also when the program
 * itself uses the class, so that no import goes unseen.
 */

import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Makes of a module another one, in the words of the module loader. */
const FRESH = '?conformance';

export interface ImportWatch {
  /** URL of a module of the folder, under which it is loaded afresh. */
  urlOf(file: string): string;
  /** What was imported that is neither of the folder nor allowed, each once. */
  readonly forbidden: ReadonlySet<string>;
  end(): void;
}

/**
 * @param folder whose modules are watched
 * @param library a folder from which they may import
 * @param packages prefixes of package names that they may import
 */
export function watchImports(folder: string, library: string, packages: readonly string[]): ImportWatch {
  const inside = `${pathToFileURL(folder).href}/`;
  const allowed = `${pathToFileURL(library).href}/`;
  const forbidden = new Set<string>();
  const hooks = registerHooks({
    resolve: (specifier, context, nextResolve) => {
      const resolved = nextResolve(specifier, context);
      const isOwn = resolved.url.startsWith(inside);
      const isAllowed =
        resolved.url.startsWith(allowed) || packages.some((name) => specifier.startsWith(name));
      if (context.parentURL?.startsWith(inside) === true && !isOwn && !isAllowed) forbidden.add(specifier);
      return isOwn && !resolved.url.endsWith(FRESH) ? { ...resolved, url: resolved.url + FRESH } : resolved;
    },
  });
  return {
    urlOf: (file) => pathToFileURL(file).href + FRESH,
    forbidden,
    end: () => {
      hooks.deregister();
    },
  };
}
