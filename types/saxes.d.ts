/** What of saxes 6.0.0 is used: its own types do not pass the checks of this project's compiler. */

export interface XMLDecl {
  version?: string;
  encoding?: string;
}

export interface SaxesAttributeNS {
  /** As written, with its prefix. */
  name: string;
  prefix: string;
  local: string;
  /** Empty for an attribute without a prefix that declares no namespace. */
  uri: string;
  value: string;
}

export interface SaxesTagNS {
  /** As written, with its prefix. */
  name: string;
  prefix: string;
  local: string;
  /** Empty where there is no namespace. */
  uri: string;
  /** By their names as written. */
  attributes: Record<string, SaxesAttributeNS>;
}

interface Handlers {
  xmldecl: (declaration: XMLDecl) => void;
  doctype: (text: string) => void;
  processinginstruction: (instruction: { target: string; body: string }) => void;
  cdata: (text: string) => void;
  comment: (text: string) => void;
  text: (text: string) => void;
  opentagstart: () => void;
  attribute: () => void;
  opentag: (tag: SaxesTagNS) => void;
  closetag: (tag: SaxesTagNS) => void;
  error: (error: Error) => void;
}

/** With these options a parser that knows namespaces and reads XML 1.0, whatever the document says. */
export class SaxesParser {
  constructor(options: { xmlns: true; forceXMLVersion: true; defaultXMLVersion: '1.0'; position: false });
  on<Name extends keyof Handlers>(name: Name, handler: Handlers[Name]): void;
  write(chunk: string): this;
  close(): this;
}
