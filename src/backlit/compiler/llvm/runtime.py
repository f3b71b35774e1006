"""The part of every program that is the same: filling the table and running kernels one after another."""

RUNTIME = """
define void @bind(ptr %table, ptr %pairs, i64 %n, ptr %dynamic) #0 {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %end
body:
  %pair = shl i64 %i, 1
  %pp = getelementptr i64, ptr %pairs, i64 %pair
  %place = load i64, ptr %pp
  %pq = getelementptr i64, ptr %pp, i64 1
  %which = load i64, ptr %pq
  %source = getelementptr ptr, ptr %dynamic, i64 %which
  %address = load ptr, ptr %source
  %target = getelementptr ptr, ptr %table, i64 %place
  store ptr %address, ptr %target
  %next = add i64 %i, 1
  br label %test
end:
  ret void
}
define void @run(ptr %steps, i64 %n, ptr %scratch) #0 {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %end
body:
  %at = mul i64 %i, 3
  %p = getelementptr i64, ptr %steps, i64 %at
  %code = load ptr, ptr %p
  %pt = getelementptr i64, ptr %p, i64 1
  %table = load ptr, ptr %pt
  %pn = getelementptr i64, ptr %p, i64 2
  %units = load i64, ptr %pn
  call void %code(ptr %table, ptr %scratch, i64 0, i64 %units)
  %next = add i64 %i, 1
  br label %test
end:
  ret void
}
"""
