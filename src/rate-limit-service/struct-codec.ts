/** google.protobuf.Struct on the wire. Like all that the writer takes, it is written from its end. */
import { beginMessage, endMessage, putBool, putDouble, putString, type Writer } from '../grpc/protobuf.ts';
import { isStruct, type Struct, type StructValue } from './struct.ts';

const STRUCT = { fields: 1 } as const;
const ENTRY = { key: 1, value: 2 } as const;
const VALUE = {
  nullValue: 1,
  numberValue: 2,
  stringValue: 3,
  boolValue: 4,
  structValue: 5,
  listValue: 6,
} as const;
const LIST = { values: 1 } as const;

function putValue(writer: Writer, value: StructValue): void {
  // The only value of the enum NullValue is 0.
  if (value === null) putBool(writer, VALUE.nullValue, false);
  else if (typeof value === 'boolean') putBool(writer, VALUE.boolValue, value);
  else if (typeof value === 'number') putDouble(writer, VALUE.numberValue, value);
  else if (typeof value === 'string') putString(writer, VALUE.stringValue, value);
  else if (isStruct(value)) {
    const message = beginMessage(writer);
    putStruct(writer, value);
    endMessage(writer, VALUE.structValue, message);
  } else {
    const message = beginMessage(writer);
    for (const item of value.toReversed()) {
      const element = beginMessage(writer);
      putValue(writer, item);
      endMessage(writer, LIST.values, element);
    }
    endMessage(writer, VALUE.listValue, message);
  }
}

/** The fields of a Struct, into the message that is open. */
export function putStruct(writer: Writer, struct: Struct): void {
  for (const [key, item] of [...struct].toReversed()) {
    const entry = beginMessage(writer);
    const value = beginMessage(writer);
    putValue(writer, item);
    endMessage(writer, ENTRY.value, value);
    putString(writer, ENTRY.key, key);
    endMessage(writer, STRUCT.fields, entry);
  }
}
