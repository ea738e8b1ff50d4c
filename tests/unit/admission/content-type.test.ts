import { describe, expect, it } from 'vitest';
import { isJsonType } from '../../../src/admission/content-type.ts';

describe('the type of a body', () => {
  it.each([
    '',
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
    'application/json ;',
    'application/json; odata=verbose',
    'application/json; charset=us-ascii',
    ' ',
  ])('is JSON: %j', (type) => expect(isJsonType(type)).toBe(true));

  it.each([
    'text/plain',
    'text/json',
    'application/jsonp',
    'application/json; charset=utf-7',
    'application/json; charset=utf-16',
    'application/json; charset = "utf-16"',
    'application/json,text/plain',
    'application/json, application/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-8; charset=utf-7',
    ';',
  ])('is not: %j', (type) => expect(isJsonType(type)).toBe(false));
});
